"""An object file, laid out as it will lie in memory.

In: the object file of a kernel, and the name of its entry. Out: `Image`: code that runs wherever it is put,
once the address of that place is added to some of its words.

Theory. A kernel refers to nothing outside itself, and LLVM, told to make code for a process it does not
know, refers to each place inside by its whole address. So all that is left of linking is one addition per
reference, which needs no linker: LLVM itself takes 60 ms to be loaded and to link the kernels of a run.

Never: guesses. Of other kinds of references, formats and processors nothing is made; LLVM links those.
"""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

ABSOLUTE = 1  # R_X86_64_64 (System V ABI, AMD64 supplement, table 4.9): symbol + addend, 64 bits
WRITTEN, ALLOCATED = 1, 2  # SHF_WRITE, SHF_ALLOC: the section is there when the code runs
WORD = 8


class Image(NamedTuple):
    """What runs anywhere."""

    entry: int  # offset of its first instruction
    addresses: list[int]  # offsets of the words that its own address is to be added to
    code: bytes


def image_of(machine_code: bytes, symbol: str) -> Image | None:
    """The image of an object file; None if it is of another kind than those that are understood."""
    try:
        file = ELFFile(BytesIO(machine_code))
        return _image(file, symbol) if file.get_machine_arch() == "x64" else None
    except ELFError:
        return None


def _image(file: ELFFile, symbol: str) -> Image | None:
    begins: dict[int, int] = {}  # of each section, by its number
    code = bytearray()
    for number, section in enumerate(file.iter_sections()):
        if section["sh_flags"] & WRITTEN:
            return None
        if section["sh_flags"] & ALLOCATED:
            code += bytes(-len(code) % max(section["sh_addralign"], 1))
            begins[number] = len(code)
            code += section.data()
    symbols = file.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    addresses = []
    for section in file.iter_sections():
        if not isinstance(section, RelocationSection) or section["sh_info"] not in begins:
            continue
        for reference in section.iter_relocations():
            target = symbols.get_symbol(reference["r_info_sym"])
            if reference["r_info_type"] != ABSOLUTE or target["st_shndx"] not in begins:
                return None
            at = begins[section["sh_info"]] + reference["r_offset"]
            value = begins[target["st_shndx"]] + target["st_value"] + reference["r_addend"]
            code[at : at + WORD] = value.to_bytes(WORD, "little", signed=True)
            addresses.append(at)
    entries = symbols.get_symbol_by_name(symbol)
    if not entries or entries[0]["st_shndx"] not in begins:
        return None
    return Image(begins[entries[0]["st_shndx"]] + entries[0]["st_value"], addresses, bytes(code))

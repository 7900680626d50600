"""What the compiler made of the multiply-add loops: read from the built modules by objdump."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import NamedTuple

import pytest
from rnncore._native import isa as _isa

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(shutil.which("objdump") is None, reason="there is no objdump"),
]

MULTIPLY = re.compile(r"vfn?m(add|sub)\d+p[sd]|mulp[sd]")
POINTWISE = re.compile(r"v?p?(div|min|max|and|or|sll|cvt|blend|cmp|sub|sqrt|ternlog)\w*")
"""Of packets: what an activation has and a product has not."""
PACKET = re.compile(r"%[xyz]mm")
ON_STACK = re.compile(r"\(%rsp[,)]|-0x[0-9a-f]+\(%rbp\)")
LONGEST = 400
"""Instructions of an innermost loop at most."""


class Instruction(NamedTuple):
    address: int
    name: str
    operands: str


def instructions(path: str) -> list[Instruction]:
    """Disassemble a module."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-w", path]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^\s*([0-9a-f]+):\t(\S+) *([^\n#<]*)", text, re.MULTILINE)
    return [Instruction(int(address, 16), name, rest.strip()) for address, name, rest in found]


def innermost_loops(code: list[Instruction]) -> list[list[Instruction]]:
    """Return what lies between a backward jump and its target, where no other loop lies in it."""
    place = {instruction.address: i for i, instruction in enumerate(code)}
    loops = []
    for last, (address, name, operands) in enumerate(code):
        if not name.startswith("j") or not re.fullmatch(r"[0-9a-f]+", operands):
            continue
        first = place.get(int(operands, 16), -1)
        if int(operands, 16) <= address and 0 <= last - first < LONGEST:
            loops.append((first, last))
    firsts = dict(sorted(loops, reverse=True))  # of loops with one start, the shortest
    return [
        code[first : last + 1]
        for first, last in firsts.items()
        if not any(first < other < last and firsts[other] < last for other in firsts)
    ]


def multiply_add_loops(code: list[Instruction]) -> list[list[Instruction]]:
    """Return the innermost loops of products: a quarter of the instructions multiply packets."""

    def is_product(loop: list[Instruction]) -> bool:
        multiplies = sum(MULTIPLY.fullmatch(i.name) is not None for i in loop)
        pointwise = any(POINTWISE.fullmatch(i.name) and PACKET.search(i.operands) for i in loop)
        return multiplies >= max(4, len(loop) / 4) and not pointwise

    return [loop for loop in innermost_loops(code) if is_product(loop)]


def on_stack(loop: list[Instruction]) -> list[Instruction]:
    """Return the instructions that move a packet to or from the stack."""
    return [i for i in loop if ON_STACK.search(i.operands) and PACKET.search(i.operands)]


@pytest.mark.parametrize("isa", _isa.available_isas())
def test_sums_and_operands_of_a_product_stay_in_registers(isa):
    loops = multiply_add_loops(instructions(_isa.load(isa).__file__))
    # Register tiles of three kinds of panels, dot products of up to four rows; float32 and float64.
    assert len(loops) >= 20
    spilled = [loop for loop in loops if on_stack(loop)]
    assert not spilled, "\n\n".join("\n".join(map(str, loop)) for loop in spilled)


def test_a_loop_that_goes_through_memory_is_found():
    code = [
        Instruction(0, "vbroadcastss", "(%rsi),%ymm1"),
        Instruction(4, "vfmadd231ps", "(%rdi),%ymm1,%ymm2"),
        Instruction(8, "vfmadd231ps", "0x20(%rdi),%ymm1,%ymm3"),
        Instruction(12, "vfmadd231ps", "0x40(%rdi),%ymm1,%ymm4"),
        Instruction(16, "vfmadd213ps", "-0x78(%rsp),%ymm1,%ymm5"),
        Instruction(20, "jne", "0"),
        Instruction(24, "jne", "0"),  # a loop around it
    ]
    (loop,) = multiply_add_loops(code)
    assert loop == code[:6]
    assert on_stack(loop) == [code[4]]

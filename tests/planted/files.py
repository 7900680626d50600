"""Faults in what is written to disk and read again."""

from __future__ import annotations

from planted.mutant import Mutant

WRITING = "python/rnncore/_files.py"
ORDER = (
    "tests/files/test_written_order.py"
    "::test_the_file_is_on_the_disk_before_its_name_and_the_name_at_the_end"
)
SYNC, RENAME = "            os.fsync(file.fileno())\n", "        os.replace(temporary, path)\n"

FILES = {
    "file-is-not-synchronised": Mutant(WRITING, ((SYNC, ""),), ORDER),
    "folder-is-not-synchronised": Mutant(
        WRITING, (("os.fsync(handle)", "os.fstat(handle)"),), ORDER
    ),
    "renamed-before-it-is-on-the-disk": Mutant(
        WRITING, ((SYNC + RENAME, "    " + RENAME + SYNC),), ORDER
    ),
    "file-gets-the-usual-mode": Mutant(
        WRITING,
        (("os.chmod(", "(lambda *ignored: None)("),),
        "tests/test_checkpoint.py::test_a_file_keeps_its_mode_and_what_is_no_file_stays",
    ),
    "leftovers-stay": Mutant(
        WRITING,
        (("os.kill(", "(lambda *ignored: None)("),),
        "tests/test_checkpoint.py::test_leftovers_of_dead_processes_are_removed_and_of_others_not",
    ),
    "checksum-without-the-types-of-numbers": Mutant(
        "python/rnncore/checkpoint.py",
        ((' {array.dtype.name} {array.shape}"', ' {array.shape}"'),),
        "tests/files/test_written_order.py::test_numbers_of_another_type_are_other_numbers",
    ),
    "checksum-without-the-parts": Mutant(
        "python/rnncore/checkpoint.py",
        (("        crc = zlib.crc32(rest.encode(), crc)\n", ""),),
        "tests/test_checkpoint.py::test_every_flipped_bit_of_parts_is_noticed",
    ),
}

"""How another version of the program takes over in the same process, without a gap.

The supervisor executes the other program in its own place: process id, sockets and children stay.
Standard library alone, so that what goes wrong in the other version can be told by it.

- `handover`   what one program leaves to the next: as a document in memory
- `program`    which program that is, and how it is executed
- `taking_over`  whether this program is such a one, and how far it is
- `caretaker`  looks after what is left if the other program cannot begin
"""

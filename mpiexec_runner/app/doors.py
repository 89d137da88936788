"""How ranks without a way to a new hub and that hub come together: by doors, told of in the run directory.

Ranks that joined later share a communicator with the hub that started them, and with nobody else. When it is
gone, whoever follows it has no way to them, nor they to it. They open a door each; the hub looks for doors,
and goes through all of them. Whether MPI comes back from that is not certain where somebody dies in the
middle: so each way is made in a thread of its own, which nobody waits for.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpiexec_runner.errors import StorageError
from mpiexec_runner.storage.owner import Owner
from mpiexec_runner.storage.roster import Door, open_door, take_doors

LOOK_EVERY_S = 0.1
ENTER_WITHIN_S = 5.0
"""How long one door is waited for before the next is gone through; it may be open to the dead."""

Say = Callable[[str], None]


class OwnDoors:
    """The doors of a rank without a way to its hub.

    Parameters
    ----------
    transport
        Of this rank.
    say
        Prints a line for the user.
    """

    def __init__(self, transport: Any, say: Say) -> None:
        self._transport, self._say = transport, say
        self._epoch = 0

    def open_to(self, directory: Path, owner: Owner) -> None:
        """Let a hub come, once."""
        if owner.epoch > self._epoch:
            self._epoch = owner.epoch
            threading.Thread(target=self._wait, args=(directory, owner), name="door", daemon=True).start()

    def _wait(self, directory: Path, owner: Owner) -> None:
        from mpiexec_runner.transport.mpi_doors import OpenDoor  # noqa: PLC0415 - loading it needs an MPI library

        rank = self._transport.rank
        try:
            door = OpenDoor()
            open_door(directory, owner.epoch, Door(rank, door.port))
            self._transport.add(owner.rank, door.wait((owner.rank, rank)))
        except Exception as error:  # noqa: BLE001 - told; a rank that nobody calls gives up after a while
            self._say(f"warning: rank {rank} has no way to its new hub, rank {owner.rank}: {error}")


class Porter:
    """Brings a hub together with the ranks that wait behind doors.

    Parameters
    ----------
    directory, epoch
        Where doors are told of, and for whom.
    transport
        Of the hub's rank.
    greet
        Is told of a rank to which there is a way now. Called in a thread.
    say
        Prints a line for the user.
    """

    def __init__(
        self, directory: Path, epoch: int, transport: Any, greet: Callable[[int], None], say: Say
    ) -> None:
        self._directory, self._epoch, self._transport = directory, epoch, transport
        self._greet, self._say = greet, say
        threading.Thread(target=self._look, name="porter", daemon=True).start()

    def _look(self) -> None:
        while True:
            time.sleep(LOOK_EVERY_S)
            try:
                doors = list(take_doors(self._directory, self._epoch))
            except StorageError as error:
                self._say(f"warning: ranks that have no way to this hub are not found any more: {error}")
                return
            for door in doors:
                thread = threading.Thread(target=self._enter, args=(door,), name="enter", daemon=True)
                thread.start()
                thread.join(ENTER_WITHIN_S)

    def _enter(self, door: Door) -> None:
        from mpiexec_runner.transport.mpi_doors import enter  # noqa: PLC0415 - loading it needs an MPI library

        try:
            self._transport.add(door.rank, enter(door.port, (self._transport.rank, door.rank)))
        except Exception as error:  # noqa: BLE001 - told, and the others come all the same
            self._say(f"warning: no way to rank {door.rank}: {error}")
            return
        self._greet(door.rank)

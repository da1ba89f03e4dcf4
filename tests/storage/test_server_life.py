"""The embedded server does not outlive its data directory, and answers at once."""

import asyncio
import shutil
import socket

import psutil
from nucleation_bluesky.storage import server, server_main
from nucleation_bluesky.storage.server_files import ServerFiles


def test_server_ends_when_its_directory_is_removed(tmp_path):
    data = tmp_path / "data"
    server.ensure_server(data)
    state = ServerFiles(data).state()
    assert state is not None
    process = psutil.Process(state.owner["pid"])
    shutil.rmtree(data)
    process.wait(20)  # raises where it does not end


def test_answers_do_not_wait_for_acknowledgements():
    """What is accepted here has Nagle's algorithm off; small answers would wait 40 ms otherwise."""

    async def served():
        listening = server_main._listen(0)
        accepted = asyncio.get_running_loop().create_future()
        made = await asyncio.start_server(
            lambda _, writer: accepted.set_result(writer), sock=listening
        )
        async with made:
            _, client = await asyncio.open_connection(*listening.getsockname())
            writer = await asyncio.wait_for(accepted, 10)
            option = writer.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY
            )
            for end in (client, writer):
                end.close()
            return option

    assert asyncio.run(served())

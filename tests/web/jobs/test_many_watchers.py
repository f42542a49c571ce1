"""Many watch, and one does much: neither is felt by others, nor takes what is theirs."""

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from faults.apart import Monitor
from faults.clients import connected, head
from faults.machine import machine
from headgate import Config, Kind
from headgate.cluster import local_directory
from support import as_user, serving, token_users


def asks(user, **headers):
    return head("GET /jobs/events", X_User=user, **headers)


async def first_of(client):
    """What an answer begins with."""
    answer = b""
    while b"\r\n\r\n" not in answer and (data := await client.receive()):
        answer += data
    return answer


async def watch(stack, server, user, count):
    """Open so many event streams of `user`; the statuses of their answers."""
    clients = [await stack.enter_async_context(connected(server.port)) for _ in range(count)]
    for client in clients:
        await client.send(asks(user))
    return [int((await first_of(client)).split()[1]) for client in clients]


@pytest.mark.parametrize("most", [3, 10])
async def test_one_who_watches_a_lot_leaves_room_for_others(root, regime, most):
    """Above the bound of one owner a watcher gets 503; the other owners get their events as before."""
    config = {"max_watchers": 2 * most, "max_watchers_per_owner": most}
    async with (
        serving(root, authenticate=token_users, config=config, handler_cancellation=regime) as server,
        AsyncExitStack() as stack,
    ):
        assert await watch(stack, server, "mallory", most) == [200] * most
        async with connected(server.port) as client:
            await client.send(asks("mallory"))
            refused = await first_of(client)
            assert int(refused.split()[1]) in (429, 503)
            assert b"retry-after:" in refused.lower()
        assert await watch(stack, server, "bob", 1) == [200]
        assert await watch(stack, server, "root", 1) == [200]


async def test_a_place_is_free_when_its_watcher_has_gone(root):
    """What was counted is not counted for ever."""
    async with serving(root, authenticate=token_users, config={"max_watchers_per_owner": 2}) as server:
        for _ in range(3):
            while True:
                async with AsyncExitStack() as stack:
                    if await watch(stack, server, "alice", 2) == [200, 200]:
                        assert await watch(stack, server, "alice", 1) != [200]
                        break
                # That the last ones have gone is noticed when they are told something.
                async with await server.upload(f"{uuid4()}", b"x", headers=as_user("alice")) as response:
                    assert response.status == 201


def test_unless_it_is_said_one_owner_cannot_have_all_places():
    """By default, too."""
    assert Config().max_watchers_per_owner < Config().max_watchers


async def history(server, user):
    async with server.client.get(server.url + "/jobs", headers=as_user(user)) as response:
        return [job["id"] for job in (await response.json())["jobs"]]


async def export(server, user):
    async with server.client.post(
        server.url + "/export", json={"filename": "there"}, headers=as_user(user)
    ) as response:
        await response.read()
        assert response.status == 200
        return response.headers["Job-Id"]


@pytest.mark.parametrize("kind", ["exports", "refused uploads", "removed uploads"])
async def test_one_who_does_much_leaves_others_their_history(root, kind):
    """What has become of others' jobs is still told, however many of one's own come after them."""
    async with serving(root, authenticate=token_users, config={"ended_jobs": 30}) as server:
        (root / "there").write_bytes(b"x")
        mine = [await export(server, "alice") for _ in range(3)]
        for number in range(40):
            if kind == "exports":
                await export(server, "mallory")
            elif kind == "refused uploads":
                async with await server.upload("there", b"x", headers=as_user("mallory")) as response:
                    assert response.status == 409
            else:
                headers = as_user("mallory") | {"Upload-Complete": "?0"}
                url = f"{server.url}/upload?filename=f{number}"
                async with server.client.post(url, data=b"x", headers=headers) as response:
                    location = response.headers["Location"]
                async with server.client.delete(location, headers=as_user("mallory")) as response:
                    assert response.status == 204
        assert set(await history(server, "alice")) == set(mine)
        for id_ in mine:
            async with server.client.get(f"{server.url}/jobs/{id_}", headers=as_user("alice")) as response:
                assert response.status == 200
        assert 0 < len(await history(server, "mallory")) <= 30


async def test_many_owners_together_do_not_exceed_what_is_remembered(root):
    """It stays bounded in all."""
    async with serving(root, authenticate=token_users, config={"ended_jobs": 30}) as server:
        (root / "there").write_bytes(b"x")
        for number in range(60):
            await export(server, f"user{number}")
        assert len(await history(server, "root")) <= 30


@pytest.mark.alone
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("owners", "jobs"), [(500, 5000), (1, 5000)])
async def test_what_many_are_told_of_many_jobs_comes_in_pieces(root, owners, jobs):
    """However many watch and whatever moves, the loop turns: telling them is not done at one go."""
    async with (
        machine() as stood,
        serving(
            root, authenticate=token_users, config={"max_jobs": 2 * jobs, "max_jobs_per_owner": 2 * jobs}
        ) as server,
        AsyncExitStack() as stack,
    ):
        running = [
            await stack.enter_async_context(server.jobs.run(Kind.UPLOAD, owner=f"user{number % owners}"))
            for number in range(jobs)
        ]
        for number in range(owners):
            assert await watch(stack, server, f"user{number}", 1) == [200]
        monitor = Monitor()
        for round_ in range(1, 4):
            for number, job in enumerate(running, 1):
                job.advance(1000 * round_)
                if not number % 50:
                    await asyncio.sleep(0)
            await asyncio.sleep(local_directory.PROGRESS_SECONDS)
        windows = monitor.take()
    longest = sorted(max((stall.less(stood) for stall in window), default=0.0) for window in windows)
    assert longest[-2] < 0.05, [f"{each:.3f}" for each in longest]

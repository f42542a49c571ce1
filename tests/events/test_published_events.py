"""What an application tells of files and of refused requests: who, what, and from which address."""

import contextlib

import headgate
from headgate import User
from headgate.events import AccessDenied, FileDeleted, FilePublished
from support import as_user, serving, token_users
from tus import create, patch


def listening(server, type_):
    told = []
    server.app[headgate.EVENTS].listen(type_, told.append)
    return told


async def test_every_way_to_publish_a_file_tells_of_it(root):
    """A form, a PUT that replaces, and a resumable upload: each with its job, its owner and its address."""
    async with serving(root) as server:
        told = listening(server, FilePublished)
        assert (await server.upload("a", b"123")).status == 201
        async with server.client.put(server.url + "/files/a", data=b"4567") as response:
            assert response.status == 200
        url = await create(server, 2, headers={"Upload-Metadata": "filename Yg=="})
        assert (await patch(server, url, 0, b"xy")).status == 204
        assert [(event.name, event.size, event.replaced) for event in told] == [
            ("a", 3, False),
            ("a", 4, True),
            ("b", 2, False),
        ]
        assert {event.by for event in told} == {headgate.Actor("anonymous", "127.0.0.1")}
        assert [event.job_id for event in told] == [info.id for info in reversed(server.infos())]


async def test_a_deleted_file_is_told_of_once_it_is_gone(root):
    """By whom; a delete that is refused tells nothing."""
    async with serving(root, authenticate=token_users) as server:
        told = listening(server, FileDeleted)
        assert (await server.upload("a", b"123", headers=as_user("alice"))).status == 201
        for status in (204, 404):
            async with server.client.delete(server.url + "/files/a", headers=as_user("bob")) as response:
                assert response.status == status
        assert told == [FileDeleted("a", headgate.Actor("bob", "127.0.0.1"))]


async def test_a_request_that_is_refused_because_of_its_user_is_told_of(root):
    """With what was asked for; a user that was not recognized has no name."""
    async with serving(root, authenticate=token_users) as server:
        told = listening(server, AccessDenied)
        async with server.client.get(server.url + "/jobs") as response:
            assert response.status == 401
        assert told == [AccessDenied(401, "unauthorized", "GET", "/jobs", None, "127.0.0.1")]


async def test_a_listener_that_fails_changes_no_answer(root, caplog):
    """The file is published and the client is answered; the log tells of the listener."""

    def breaks(event):
        raise RuntimeError("a listener that breaks")

    async with serving(root, authenticate=lambda request: User("alice")) as server:
        for type_ in (FilePublished, FileDeleted, AccessDenied):
            server.app[headgate.EVENTS].listen(type_, breaks)
        assert (await server.upload("a", b"123")).status == 201
        with contextlib.closing(await server.client.delete(server.url + "/files/a")) as response:
            assert response.status == 204
    assert "a listener that breaks" in caplog.text

"""What a client refuses, retries and gives up on: one clear line each."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

pytest.importorskip("httpx", reason="servers are asked with httpx")
pytest.importorskip("torch", reason="the tests' server needs it")

from calbench.errors import InputError, ServerError
from calbench.models import Address
from calbench.runtimes import Client, Patience
from calbench.runtimes._access import check_host, key_for


@pytest.fixture
def client(serve):
    made = []

    def client(instead, **patience):
        address, server = serve()
        server.instead = instead
        options = {"seconds": 5.0, "n_tries": 3, "first_pause": 0.001, **patience}
        made.append(Client(Address.parse(address), Patience(**options)))
        return made[-1], server

    yield client
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((302, "", {"location": "http://evil.example/v1"}), r"redirects to http://evil\.example/v1"),
        ((200, "<html>login</html>", {}), "sends no JSON"),
        ((200, '{"error": {"message": "out of memory"}}', {}), "with an error: out of memory"),
        ((200, '{"object": "error", "message": "out of memory"}', {}), "with an error: out of memory"),
        ((404, '{"detail": "no such model"}', {}), "answers 404: no such model"),
        ((503, "busy", {}), r"answers 503: busy \(asked 3 times\)"),
    ],
)
def test_a_bad_answer_is_one_clear_line(client, answer, reason):
    with pytest.raises(ServerError, match=reason):
        client(lambda path, body: answer)[0].post("./completions", {})


def test_a_busy_server_is_asked_again(client):
    busy = iter([(429, "busy", {"retry-after": "0"}), (503, "busy", {})])
    asked, _ = client(lambda path, body: next(busy, (200, '{"fine": true}', {})))
    assert asked.post("./completions", {}) == {"fine": True}


@pytest.mark.parametrize(
    "sent", [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: "]
)
@pytest.mark.parametrize("proxied", [False, True])
def test_a_slow_loris_is_given_up_on(sent, proxied, monkeypatch):
    """A byte now and then, of body or head, lets no read time out; the whole answer has a limit too."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        over = threading.Event()

        def drip():
            while not over.is_set():
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(sent)
                    with suppress(OSError):
                        while not over.wait(0.02):
                            connection.sendall(b" ")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        place = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if proxied:
            monkeypatch.setattr("calbench.runtimes._access.addresses_of", lambda host: ("93.184.216.34",))
            monkeypatch.setenv("HTTP_PROXY", place)
            monkeypatch.delenv("NO_PROXY", raising=False)
        address = Address.parse("http://api.example.com" if proxied else place)
        slow = Client(address, Patience(seconds=0.2, n_tries=1))
        with pytest.raises(ServerError, match=r"no whole answer within 0\.2 s"):
            slow.get("/props")
        over.set()
        slow.close()


def test_a_strange_host_that_a_file_names_is_not_asked(monkeypatch):
    monkeypatch.setattr("calbench.runtimes._access.addresses_of", lambda host: ("93.184.216.34",))
    strange = Address.parse("https://api.example.com/v1#m")
    with pytest.raises(InputError, match=r"set CALBENCH_ALLOW_HOST=api\.example\.com"):
        check_host(strange, declared=True)
    monkeypatch.setenv("CALBENCH_ALLOW_HOST", "api.example.com")
    check_host(strange, declared=True)


@pytest.mark.parametrize("ip", ["169.254.169.254", "0.0.0.0", "100.100.100.100", "8.8.8.8"])
def test_addresses_that_only_look_near_are_strange(monkeypatch, ip):
    monkeypatch.setattr("calbench.runtimes._access.addresses_of", lambda host: (ip,))
    with pytest.raises(InputError, match="CALBENCH_ALLOW_HOST"):
        check_host(Address.parse("http://gpu1/v1#m"), declared=True)


def test_a_key_is_never_sent_in_the_clear_to_a_strange_host(monkeypatch):
    monkeypatch.setenv("CALBENCH_API_KEY", "general")
    monkeypatch.setenv("CALBENCH_API_KEY_API_EXAMPLE_COM", "its own")
    monkeypatch.setattr("calbench.runtimes._access.addresses_of", lambda host: ("93.184.216.34",))
    assert key_for(Address.parse("http://api.example.com/v1")) is None
    assert key_for(Address.parse("https://api.example.com/v1")) == "its own"
    assert key_for(Address.parse("https://other.example.com/v1")) == "general"


def test_two_servers_of_one_host_have_keys_of_their_own(monkeypatch):
    monkeypatch.setenv("CALBENCH_API_KEY_127_0_0_1", "the host's")
    monkeypatch.setenv("CALBENCH_API_KEY_127_0_0_1_8001", "its own")
    assert key_for(Address.parse("http://127.0.0.1:8001/v1")) == "its own"
    assert key_for(Address.parse("http://127.0.0.1:8002/v1")) == "the host's"


@pytest.mark.parametrize("text", ["http://", "ftp://host/v1", "http://host:port/v1", "http://host/v1?key=1"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InputError, match="cannot read the address"):
        Address.parse(text)


def test_a_key_in_an_address_is_not_shown():
    with pytest.raises(InputError) as refused:
        Address.parse("http://me:hush@host/v1?key=sk-1#m")
    assert "'http://host/v1?...#m'" in str(refused.value)

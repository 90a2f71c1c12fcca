"""Messages to launchers are signed for their pod, and what comes of them is told."""

from __future__ import annotations

import pytest
from fake_launcher import REDIRECTS, REPORT

from dtj_api.wire import OTHER_KEY, Meet, encode, verify
from dtj_operator.act.control import Address, Control, ControlError, KeyRefusedError


async def test_a_message_is_signed_for_its_pod_and_answered_with_a_report(launcher):
    control = Control(port=launcher.port)
    message = Meet(2, 1, 2, "10.0.0.1:29400")
    report = await control.send(Address("p", "pod-1", "127.0.0.1"), message, b"key")
    assert report == REPORT
    ((path, body, headers),) = launcher.messages
    assert path == "/v1/meet"
    assert body == encode(message)
    assert verify(b"key", path, "pod-1", body, headers["X-DTJ-Signature"])
    assert not verify(b"key", path, "pod-2", body, headers["X-DTJ-Signature"])
    await control.close()


async def test_a_refused_message_names_the_pod_and_the_reason(launcher):
    launcher.status, launcher.body = 403, b"a lower incarnation"
    control = Control(port=launcher.port)
    with pytest.raises(ControlError, match=r"/v1/meet to p at 127.0.0.1.*403.*lower incarnation"):
        await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
    await control.close()


async def test_a_signature_that_is_refused_is_told_from_a_message_that_is(launcher):
    control = Control(port=launcher.port)
    for status, body, refused in ((403, OTHER_KEY + b"\n", True), (403, b"RBAC", False), (409, b"no", False)):
        launcher.status, launcher.body = status, body
        with pytest.raises(ControlError) as raised:
            await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
        assert isinstance(raised.value, KeyRefusedError) is refused
    await control.close()


@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_signed_message_goes_elsewhere(launcher, victim, status):
    launcher.status, launcher.headers = status, {"Location": f"http://127.0.0.1:{victim.port}/v1/meet"}
    control = Control(port=launcher.port)
    with pytest.raises(ControlError, match=f"status {status}"):
        await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(2, 1, 2, "x"), b"key")
    assert (victim.asked, victim.messages) == (0, [])
    await control.close()


async def test_a_pod_that_is_not_there_is_an_error_of_its_own():
    control = Control(port=1, timeout=1)
    with pytest.raises(ControlError, match=r"127\.0\.0\.1"):
        await control.send(Address("p", "pod-1", "127.0.0.1"), Meet(1, 1, 1, "x"), b"key")
    await control.close()

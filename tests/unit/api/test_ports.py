"""Ports that a program binds later are still free then."""

from __future__ import annotations

import multiprocessing
import pathlib
import socket

import pytest

from dtj_api.ports import free_ports, keep_port


def first_ephemeral() -> int:
    return int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_is_kept_is_given_to_no_outgoing_connection(family):
    held = [keep_port(family) for _ in range(20)]
    ports = {each.getsockname()[1] for each in held}
    for each in held:
        each.close()
    assert len(ports) == 20
    assert all(port < first_ephemeral() for port in ports) or first_ephemeral() < 29_000


def test_ports_that_are_bound_later_are_different_and_given_to_no_outgoing_connection():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(port < first_ephemeral() for port in ports) or first_ephemeral() < 29_000
    for port in ports:
        with socket.socket() as mine:
            mine.bind(("127.0.0.1", port))


def test_programs_that_start_at_once_take_no_port_of_each_other():
    """Each lets its ports go before it binds them, so that nothing but the choice keeps them apart."""
    with multiprocessing.get_context("fork").Pool(4) as pool:
        given = [pool.apply_async(free_ports, (5,)) for _ in range(20)]
        ports = [port for each in given for port in each.get(60)]
    assert len(set(ports)) == len(ports) == 100


def test_where_all_ports_may_be_given_to_connections_the_kernel_chooses(monkeypatch):
    monkeypatch.setattr("dtj_api.ports._first_ephemeral", lambda: 1024)
    assert len(set(free_ports(5))) == 5

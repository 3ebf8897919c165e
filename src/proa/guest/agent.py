"""The guest's agent: one loop that does what the engine asks and carries the container's bytes.

It is process 1 of the guest. When the channel ends, so does the guest.
"""

from __future__ import annotations

import gc
import os
import time
from typing import TYPE_CHECKING

import msgspec

from proa.guest import boot, clock, files, network, processlist, root
from proa.guest.container import GuestContainer, send_signal
from proa.oci.files import StatFile, Transfer
from proa.oci.processlist import ReadProcesses
from proa.vm.agent import messages, protocol
from proa.vm.agent.mux import Mux
from proa.vm.agent.protocol import Frame

if TYPE_CHECKING:
    from proa.guest.resolver import GuestResolver

_MS_PER_S = 1000


def main() -> None:
    """Boot, then serve until the channel ends."""
    boot.mount_kernel_filesystems()
    modules = boot.Modules()
    modules.load_buses()
    port = boot.open_port(protocol.PORT_NAME)
    agent = Agent(port, modules)
    gc.collect()
    gc.freeze()
    agent.greet()
    agent.serve()


class Agent:
    """Answers requests one after the other."""

    def __init__(self, port: int, modules: boot.Modules) -> None:
        self._modules = modules
        self._mux = Mux(port, protocol.FROM_HOST, self._on_frame)
        self._container = GuestContainer(self._mux)
        self._resolver: GuestResolver | None = None

    def greet(self) -> None:
        """Say that the guest is ready."""
        uptime_ms = round(time.clock_gettime(time.CLOCK_BOOTTIME) * _MS_PER_S)
        hello = messages.Hello(
            version=protocol.VERSION, kernel=os.uname().release, uptime_ms=uptime_ms
        )
        self._mux.send(protocol.HELLO, 0, messages.encode(hello))

    def serve(self) -> None:
        """Handle what comes, for ever.

        Raises:
            EOFError: the channel ended.
            Corrupt: the engine breaks the rules.
        """
        while True:
            self._mux.run()

    def _on_frame(self, frame: Frame) -> None:
        if frame.kind == protocol.ANSWER and self._resolver is not None:
            self._resolver.on_answer(frame)
        if frame.kind != protocol.REQUEST:
            return
        try:
            request = messages.decode_request(frame.payload)
            answer = self._handle(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine is told
            payload = messages.encode(messages.failure_of(error))
            self._mux.send(protocol.FAILURE, frame.stream, payload)
            return
        if not isinstance(request, messages.Signal):
            self._mux.send(protocol.REPLY, frame.stream, messages.encode(answer))

    def _handle(self, request: messages.Request) -> object:
        container = self._container
        match request:
            case messages.Signal():
                send_signal(container, request)
            case messages.Exec():
                return container.exec(request)
            case messages.Resize(number=number, rows=rows, columns=columns):
                handle = container.find(number)
                if handle is not None:
                    handle.resize(rows, columns)
            case ReadProcesses():
                return processlist.read(container.sandbox.processes())
            case StatFile():
                return files.stat_file(container.sandbox.init.pid, request)
            case Transfer():
                container.transfer(request)
            case messages.ReadStats():
                received, sent = network.read_counters()
                return msgspec.structs.replace(
                    container.sandbox.stats(),
                    network_received_bytes=received,
                    network_sent_bytes=sent,
                )
            case messages.SetUp():
                self._set_up(request)
            case messages.Create():
                return container.create(request)
            case messages.Start():
                container.sandbox.start()
            case messages.Kill(signal=number):
                container.kill(number)
            case messages.Pause():
                container.sandbox.pause()
            case messages.Resume():
                container.sandbox.resume()
            case messages.Update(resources=resources):
                container.sandbox.update(resources)
            case messages.Finish():
                container.delete()
                root.unmount_root()
            case messages.Ping():
                pass
        return None

    def _set_up(self, request: messages.SetUp) -> None:
        clock.set_clock(request.time_ns)
        clock.add_entropy(request.entropy)
        self._modules.load_drivers()
        network.raise_loopback()
        network.write_sysctls(request.sysctls)
        network.configure(request.interfaces)
        if request.resolver:
            from proa.guest.resolver import GuestResolver

            self._resolver = GuestResolver(self._mux, request.resolver)
        root.mount_root(self._modules, request.layers)
        root.mount_shares(self._modules, request.shares)
        root.save_files(request.files)

#!/usr/bin/env python3
"""The shop behind a front end's nginx: sells by redis' master, counts by its slaves.

    front.py PORT MASTER SLAVES     addresses as HOST:PORT, virtual ones in the demo

GET /buy answers the number of the order, GET /sold how many orders there are.
"""

import http.server
import socket
import sys


def redis(address, *words):
    """Sends one command and returns the answer without its type byte."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        command = "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        connection.sendall(f"*{len(words)}\r\n{command}".encode())
        answer = connection.makefile("rb")
        line = answer.readline().decode().strip()
        if line.startswith("$"):  # a string, of which this is the length
            return answer.readline().decode().strip() if line != "$-1" else "0"
        return line[1:]


class Shop(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        commands = {"/buy": (master, "INCR", "orders"), "/sold": (slaves, "GET", "orders")}
        try:
            status, text = 200, redis(*commands[self.path])
        except (KeyError, OSError) as error:
            status, text = 502, repr(error)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())

    def log_message(self, *_):
        pass


port, master, slaves = sys.argv[1:]
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Shop).serve_forever()

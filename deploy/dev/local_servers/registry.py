"""Apicurio Registry, which speaks the API of Confluent's schema registry below /apis/ccompat/v7."""

import os
import signal
import urllib.request

from . import packages

STOP = signal.SIGTERM
START_SECONDS = 120
JVM = ["-Xmx400m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def ports_needed(secure):
    return ["http"]


def prepare():
    return packages.from_maven("registry", "dependency:copy", unpack=True)


def configure(server, plan):
    """Nothing to write: the settings stand on the command line."""


def command(server, plan):
    [jar] = prepare().glob("*-runner.jar")
    database = os.path.join(server["directory"], "data", "registry")
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": server["ports"]["http"],
        "quarkus.http.access-log.enabled": "false",
        # In a file, so that schemas survive a restart as they do in production.
        "apicurio.datasource.url": f"jdbc:h2:file:{database}",
    }
    return {
        "command": [packages.java(), *JVM, *(f"-D{key}={value}" for key, value in settings.items()), "-jar", str(jar)],
        "directory": server["directory"],
    }


def address(server):
    return f"http://127.0.0.1:{server['ports']['http']}/apis/ccompat/v7"


def answers(server, plan):
    # Straight to the server, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address(server) + "/subjects", timeout=5) as answer:
        return answer.status == 200


def lines(server_list, plan):
    return {"ANNALS_REGISTRY": address(server_list[0])}

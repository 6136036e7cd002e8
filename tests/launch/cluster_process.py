"""Keeps a cluster of Ray: `python -m tests.launch.cluster_process MACHINES [PORT]`. It says the address, takes orders.

At PORT of 127.0.0.1 it answers those who come by `ray://`.

`lose` loses one machine, with all that runs on it, and adds another; the end of its input ends the cluster.
"""

from __future__ import annotations

import os
import sys
from typing import Any

STORE_BYTES = 100 * 2**20


def keep(machines: int, port: int | None) -> None:
    """Keep a cluster of machines of one core, all of them this one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    own = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES}
    at_port = {} if port is None else {"ray_client_server_port": port}
    cluster: Any = Cluster(initialize_head=True, head_node_args={**own, **at_port, "include_dashboard": False})
    others = [cluster.add_node(**own) for _ in range(machines - 1)]
    print(f"at {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "lose":
            cluster.remove_node(others.pop(), allow_graceful=False)
            others.append(cluster.add_node(**own))
        print("done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    keep(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None)

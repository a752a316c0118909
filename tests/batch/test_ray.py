"""On Ray: the same rows in the same order, one bundle a machine, and what is left when actors, machines and drivers die.

They run where Ray is installed: pip install -e ".[test,ray]".
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tgraph as tg
from tests.batch.conftest import alone, sentences, vectors_of
from tgraph import batch
from tgraph.batch.bundles import Bundle

ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """Actors find this tree, and keep quiet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture
def local() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def check(output: Path, texts: list[str], exe: tg.Executable, bad: tuple[int, ...] = ()) -> None:
    """Every row is there once, in its place, with the vector of its text, but for the bad ones."""
    found = pq.read_table(output)
    assert found.column("id").to_pylist() == list(range(len(texts)))
    assert tuple(row for row, error in enumerate(found.column("error").to_pylist()) if error) == bad
    chosen = [row for row in range(0, len(texts), max(1, len(texts) // 200)) if row not in bad]
    np.testing.assert_allclose(vectors_of(found.take(chosen)), alone(exe, [texts[row] for row in chosen]), atol=1e-5)
    assert found.column("vector").null_count == len(bad)


def documents(path: Path, count: int, poison: tuple[int, ...] = ()) -> list[str]:
    texts = sentences(count)
    for row in poison:
        texts[row] = "the " * 100
    pq.write_table(pa.table({"id": range(count), "text": texts}), path)
    return texts


def test_files_datasets_and_errors(bundle: Path, encoder: tg.Executable, tmp_path: Path, local: None) -> None:
    poison = (3, 400, 999)
    texts = documents(tmp_path / "docs.parquet", 1000, poison)
    options: dict[str, Any] = {"too_long": "reject", "max_length": 16}
    report = batch.embed(tmp_path / "docs.parquet", bundle, output=tmp_path / "v.parquet", part_rows=90, ray="local", workers=2,
                         **options)
    assert [row.row for row in report.bad_rows] == list(poison) and report.rows == 1000
    check(tmp_path / "v.parquet", texts, encoder, poison)

    dataset = ray.data.from_arrow([pa.table({"id": range(n, n + 100), "text": texts[n:n + 100]}) for n in range(0, 1000, 100)])
    found = batch.embed(dataset, bundle, window=64, **options)
    assert isinstance(found, ray.data.Dataset)
    pq.write_table(pa.concat_tables(ray.get(found.to_arrow_refs())), tmp_path / "w.parquet")
    check(tmp_path / "w.parquet", texts, encoder, poison)

    with pytest.raises(tg.InputError, match="no column 'body'"):
        batch.embed(dataset, bundle, column="body")
    with pytest.raises(tg.InputError, match="takes the path of a bundle"):
        batch.embed(dataset, encoder)
    with pytest.raises(tg.InputError, match="files go to an output"):
        batch.embed(texts, bundle, ray="local")


def test_an_error_of_a_part_is_what_it_is_and_the_others_are_kept(bundle: Path, tmp_path: Path, local: None) -> None:
    """A file that is cut off after its rows were counted."""
    documents(tmp_path / "docs.parquet", 200)
    path = tmp_path / "docs.txt"
    path.write_text("\n".join(sentences(200)))
    whole = path.read_bytes()

    def cut(done: int, total: int) -> None:
        path.write_bytes(whole[:100])

    with pytest.raises(tg.FormatError, match=r"docs\.txt has changed"):
        batch.embed(path, bundle, output=tmp_path / "v.parquet", part_rows=20, ray="local", workers=1, progress=cut)
    path.write_bytes(whole)


def test_a_machine_without_the_file_gets_it_once(bundle: Path, tmp_path: Path, local: None) -> None:
    path = tmp_path / "x.tgc"
    path.write_bytes(bundle.read_bytes())
    found = Bundle.of(path)
    assert found.here() == path
    stored = Bundle(found.path, found.digest, (ray.put(np.frombuffer(path.read_bytes(), np.uint8)),))
    path.unlink()
    with pytest.raises(tg.FormatError, match="is not there"):
        found.here()

    @ray.remote
    def place(there: Bundle) -> tuple[str, int]:
        copy = there.here()
        return str(copy), copy.stat().st_ino

    places = ray.get([place.remote(stored) for _ in range(4)])
    assert len(set(places)) == 1 and Path(places[0][0]).read_bytes() == bundle.read_bytes()
    Path(places[0][0]).write_bytes(b"damaged")
    copy, _ = ray.get(place.remote(stored))
    assert Path(copy).read_bytes() == bundle.read_bytes()
    Path(copy).unlink()


def actors() -> list[int]:
    """The processes of this process's Ray that compute parts."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                parent = Path("/proc") / (entry / "stat").read_text().rpartition(")")[2].split()[1]
                grandparent = (parent / "stat").read_text().rpartition(")")[2].split()[1]
            except OSError:
                continue
            if b"PartWorker" in command and int(grandparent) == os.getpid():
                found.append(int(entry.name))
    return found


def beside(action: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


@pytest.mark.thorough
def test_actors_that_are_killed(bundle: Path, encoder: tg.Executable, tmp_path: Path, local: None) -> None:
    """kill -9, twenty times in a run, each after another part is finished and so in the middle of one."""
    poison = (0, 31_000)
    texts = documents(tmp_path / "docs.parquet", 60_000, poison)
    output, killed = tmp_path / "v.parquet", list[int]()
    over = threading.Event()

    def kill() -> None:
        seen = 0
        while len(killed) < KILLS and not over.is_set():
            time.sleep(0.05)
            finished = len(list(tmp_path.glob("v.parquet.parts/*.parquet")))
            running = [pid for pid in actors() if pid not in killed]
            if finished > seen and running:
                seen = finished
                os.kill(running[len(killed) % len(running)], signal.SIGKILL)
                killed.append(running[len(killed) % len(running)])

    thread = beside(kill)
    report = batch.embed(tmp_path / "docs.parquet", bundle, output=output, part_rows=500, ray="local", workers=2,
                         too_long="reject")
    over.set()
    thread.join()
    assert len(killed) == KILLS and len(set(killed)) == KILLS
    assert report.rows == 60_000 and [row.row for row in report.bad_rows] == list(poison)
    check(output, texts, encoder, poison)


@pytest.mark.thorough
def test_a_machine_that_goes(bundle: Path, encoder: tg.Executable, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    texts = documents(tmp_path / "docs.parquet", 30_000)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        gone = threading.Event()

        def remove() -> None:
            while len(list(tmp_path.glob("v.parquet.parts/*.parquet"))) < 10:
                time.sleep(0.05)
            cluster.remove_node(other, allow_graceful=False)
            gone.set()

        thread = beside(remove)
        report = batch.embed(tmp_path / "docs.parquet", bundle, output=tmp_path / "v.parquet", part_rows=500, ray=cluster.address,
                             workers=2)
        thread.join(60)
        assert gone.is_set() and report.rows == 30_000
        check(tmp_path / "v.parquet", texts, encoder)
    finally:
        ray.shutdown()
        cluster.shutdown()


RUN = """
import sys
from tgraph import batch
batch.embed(sys.argv[1], sys.argv[2], output=sys.argv[3], part_rows=500, ray="local", workers=2,
            progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.thorough
def test_a_driver_that_is_killed(bundle: Path, encoder: tg.Executable, tmp_path: Path) -> None:
    texts = documents(tmp_path / "docs.parquet", 30_000)
    output = tmp_path / "v.parquet"
    command = [sys.executable, "-c", RUN, str(tmp_path / "docs.parquet"), str(bundle), str(output)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    assert process.stdout is not None
    while int(process.stdout.readline()) < 5000:
        pass
    process.kill()
    process.wait(60)
    kept = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("v.parquet.parts/*.parquet")}
    assert 10 <= len(kept) < 60 and not output.exists()
    written: list[dict[str, int]] = []

    def note(done: int, total: int) -> None:
        written.append({p.name: p.stat().st_mtime_ns for p in tmp_path.glob("v.parquet.parts/*.parquet")})

    report = batch.embed(tmp_path / "docs.parquet", bundle, output=output, part_rows=500, ray="local", workers=2, progress=note)
    assert report.kept >= len(kept) and report.rows == 30_000 and kept.items() <= written[-1].items(), "none was computed again"
    check(output, texts, encoder)

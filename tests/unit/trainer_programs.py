"""Programs that stand in for the trainer; the run's folder is their argument."""

PUBLISH = """
    import dataclasses, sys, time
    from pathlib import Path
    from livepick.core.contracts.bundle import GRAPH, publish, read_card, sha256
    from livepick.core.contracts.held_out_labels import HELD_OUT, HeldOutLabels, LabelledMicrograph
    from livepick.core.contracts.run import RunMicrograph, RunSpec
    folder = Path(sys.argv[1])
    spec = RunSpec.read(folder)
    card = dataclasses.replace(
        read_card(spec.models_directory / "0000"),
        version=spec.version, kind="trained", fingerprint=spec.fingerprint,
        graph_sha256=sha256(b"trained"), run=folder.name, parent=spec.parent,
    )
    with (folder / "progress.jsonl").open("a") as file:
        file.write('{"at": 1, "stage": "train", "training_loss": 0.5, "validation_loss": 0.6}\\n')
    labels = HeldOutLabels(by="classes", radius_angstrom=20, micrographs=[
        LabelledMicrograph(path=m.path, pixel_size_angstrom=1,
            particles=[(100 * n, 100) for n in range(9)], doubtful=[])
        for m in spec.micrographs if m.held_out
    ])
    files = {GRAPH: b"trained", HELD_OUT: labels.model_dump_json().encode()}
    publish(spec.models_directory, card, files)
"""

FAIL = """
    import sys
    from pathlib import Path
    with (Path(sys.argv[1]) / "progress.jsonl").open("a") as file:
        file.write('{"at": 1, "stage": "failed", "note": "There are no seeds. Lower it."}\\n')
    sys.exit(1)
"""

CRASH = "raise SystemExit('Segmentation fault, nearly')"

SLEEP = """
    import sys, time
    from pathlib import Path
    (Path(sys.argv[1]) / "began").touch()
    time.sleep(60)
"""

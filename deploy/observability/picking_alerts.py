"""Alerts on the speed and the failures of picking."""

from livepick.config.alert_thresholds import FAILED_FRACTION, FAILED_SINGLE, LAG_SECONDS, LATEST
from observability.alert import Alert

__all__ = ["PICKING_ALERTS"]

_SAME = "on (job, instance)"
_LAG = f"seconds({LAG_SECONDS:.0f}s)"
_CALLS = "sum without (outcome) (increase(livepick_on_picked_calls_total[15m]))"
_FAILED_CALLS = _CALLS.replace("[", '{outcome!="success"}[')
_FAILED = 'sum without (state) (livepick_latest_micrographs{state="failed"})'

PICKING_ALERTS = (
    Alert(
        name="LivepickPickingStopped",
        severity="critical",
        expr=f"""
            time() - livepick_oldest_pending_timestamp_seconds > {_LAG}
            and livepick_oldest_pending_timestamp_seconds > 0
            and time() - livepick_last_micrograph_picked_timestamp_seconds > {_LAG}
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="Micrographs are waiting on {{ $labels.instance }}, and none has been picked for"
        " more than ten minutes. Check its workers (top, nvidia-smi), and restart livepick.",
        runbook="Another alert may give the cause: a folder that is missing or read-only. Do the"
        " workers compute (`top`)? Do they wait for the file server (state D), or for a GPU that"
        " hangs (`nvidia-smi`, `dmesg`)? `systemctl restart livepick` restarts them; nothing is"
        " lost.",
    ),
    Alert(
        name="LivepickFallingBehind",
        severity="warning",
        expr=f"""
            time() - livepick_oldest_pending_timestamp_seconds > {_LAG}
            and livepick_oldest_pending_timestamp_seconds > 0
            """,
        lasting="2m",
        dashboard="pipeline",
        summary="A micrograph on {{ $labels.instance }} has waited for its picks for more than ten"
        " minutes. Check on the Pipeline dashboard which stage is slow.",
        runbook="Is the output folder writable (LivepickOutputRefused)? Does picking use the GPU"
        " (LivepickOnCpu)? If `read` is the slow stage, the file server is slow. Is another program"
        " using the cores or the GPU? Raise `picking.workers`, on a CPU up to the number of cores.",
    ),
    Alert(
        name="LivepickQueueGrows",
        severity="warning",
        expr="""
            deriv(livepick_queue_depth{stage="queued"}[15m]) > 0
            and livepick_queue_depth{stage="queued"} > 20
            """,
        lasting="15m",
        dashboard="pipeline",
        summary="More micrographs land on {{ $labels.instance }} than are picked, for half an hour."
        " Check on the Pipeline dashboard which stage is slow; raise picking.workers.",
        runbook="Picking is slower than the microscope. The causes are those of"
        " LivepickFallingBehind, but there is more time. After a new model takes over, the queue"
        " is long once, and then gets shorter.",
    ),
    Alert(
        name="LivepickOnCpu",
        severity="warning",
        expr=f"""
            livepick_inference_provider_active{{provider="CUDAExecutionProvider"}} == 0
            and {_SAME} livepick_gpu_expected == 1
            """,
        lasting="5m",
        dashboard="pipeline",
        summary="Picking on {{ $labels.instance }} uses the CPU, although there is a GPU, or was"
        " one. Run nvidia-smi and livepick check there, then restart livepick.",
        runbook="The machine has an NVIDIA GPU or its programs, or the session has used one"
        " before; a machine without one is silent. `nvidia-smi` shows if the driver works, and"
        " `livepick check CONFIG` if onnxruntime finds it (driver 580 or newer, CUDA 13). A service"
        " that started before the driver stays on the CPU: restart it, and enable"
        " `nvidia-persistenced`. Picking continues, many times slower. With `picking.device:"
        " require-gpu` the service would end instead, which triggers LivepickDown. If you do not"
        " want a GPU, set `picking.device: cpu`.",
    ),
    Alert(
        name="LivepickMicrographsFail",
        severity="warning",
        expr=f"""
            {_FAILED} / sum without (state) (livepick_latest_micrographs) > {FAILED_FRACTION:g}
            and {_FAILED} > {FAILED_SINGLE}
            and {_SAME} increase(livepick_micrographs_total{{state="failed"}}[30m]) > 0
            """,
        lasting="5m",
        dashboard="pipeline",
        summary=f"{{{{ $value | humanizePercentage }}}} of the last {LATEST} micrographs failed on"
        " {{ $labels.instance }}. Run livepick status: it shows each reason and remedy.",
        runbook="At least one failed in the last half hour. `livepick status CONFIG` and the page"
        " show the reason and the remedy for each."
        " `incomplete`: the transfer is interrupted. `header`, `movie`: the files are not"
        " micrographs, see `watch.include`. `content`: check motion correction. `pixel_size`: set"
        " or correct `micrograph.pixel_size_angstrom`. `too_small`: no particle fits into the"
        " image. `image`: the model fails on this one image; please report it. `io`: check the file"
        " server. A file that is replaced is picked again.",
    ),
    Alert(
        name="LivepickWorkersDie",
        severity="warning",
        expr="increase(livepick_worker_crashes_total[15m]) > 1.5",
        lasting="0m",
        dashboard="pipeline",
        summary="Worker processes of {{ $labels.instance }} die. Look for the out-of-memory killer"
        " in journalctl -k; lower picking.workers.",
        runbook="The usual cause is memory: `journalctl -k | grep -i oom`. Lower"
        " `picking.workers`, or move other programs. If it is always the same file, that file"
        " fails as `poison` and the others are picked: please report it.",
    ),
    Alert(
        name="LivepickOnPickedFails",
        severity="warning",
        expr=f"{_FAILED_CALLS} > 0.1 * {_CALLS}",
        lasting="5m",
        dashboard="pipeline",
        summary="The program that livepick on {{ $labels.instance }} calls for each picked"
        " micrograph fails, so what it delivers is incomplete. Its messages are in journalctl -u"
        " livepick.",
        runbook="More than a tenth of the calls of `output.on_picked` in 15 minutes failed. Picking"
        " is not affected. `outcome` in `livepick_on_picked_calls_total` shows how they fail:"
        " `failure` (an exit status; its messages are in `journalctl -u livepick`), `timeout`"
        " (slower than `output.on_picked_timeout_seconds`), `not_started` (run `livepick check` as"
        " the service's user). A failed call is not repeated: when the program works again, deliver"
        " the missing micrographs from `micrographs.csv` in the output folder.",
    ),
    Alert(
        name="LivepickClusterLost",
        severity="critical",
        expr=f"""
            livepick_cluster_nodes{{state="accepted"}} == 0
            unless {_SAME} (
                livepick_session_active == 0
                and {_SAME} livepick_oldest_pending_timestamp_seconds == 0
            )
            """,
        lasting="5m",
        dashboard="pipeline",
        summary="livepick on {{ $labels.instance }} has no worker of its Dask cluster: nothing is"
        " picked. Run livepick status: it says whether the scheduler or the workers are missing.",
        runbook="The scheduler is lost (`livepick_cluster_connected` is 0), no worker has joined"
        " it, or none fits. Start the scheduler (`engine.scheduler`, `engine.scheduler_file`) and"
        " `livepick worker` on the machines that pick; `livepick check` asks each of them. Nothing"
        " is lost: picking goes on by itself. The alert ends without micrographs for six hours.",
    ),
    Alert(
        name="LivepickNodeSetAside",
        severity="warning",
        expr='sum without (state) (livepick_cluster_nodes{state=~"refused|set_aside"}) > 0'
        " or livepick_gpus_set_aside > 0",
        lasting="10m",
        dashboard="pipeline",
        summary="{{ $value }} workers or GPUs of {{ $labels.instance }} get no jobs. Run livepick"
        " status: it says why.",
        runbook="The page and `livepick status` name the machine of a cluster, or the GPU, here or"
        " there, with the reason and the remedy: another version of livepick, a folder that is not"
        " mounted, no GPU, or files that only this machine or GPU cannot pick. It is asked again"
        " every few minutes and taken back by itself.",
    ),
)

"""mlpkit doctor."""

EXAMPLE = "mlpkit doctor"


def doctor() -> None:
    """Show versions, devices and the data that was found."""
    import torch

    from mlpkit.config import search_path
    from mlpkit.data.images import default_root, missing_files
    from mlpkit.folders.environment import versions
    from mlpkit.system.console import make_console, plain_table
    from mlpkit.system.device import choose_device, describe_device, describe_machine

    table = plain_table("mlpkit doctor", [])
    table.add_column(overflow="fold")
    for name, version in versions().items():
        table.add_row(name, version or "not installed")
    machine = describe_machine("cpu")
    for name in ("python", "platform", "cores", "threads", "cuda"):
        table.add_row(name, str(machine[name]))
    table.add_row("device", describe_device(choose_device("auto"), "auto").removeprefix("device: "))
    for number in range(torch.cuda.device_count()):
        table.add_row(f"cuda:{number}", torch.cuda.get_device_name(number))
    root = default_root()
    for dataset, kind in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")):
        missing = missing_files(kind, root)
        found = f"found in {root}" if not missing else f"not in {root} (missing {len(missing)} of 4 files)"
        table.add_row(dataset, found)
    for folder in search_path.search_path():
        table.add_row("configs", str(folder))
    make_console().print(table)

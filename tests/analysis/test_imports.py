import subprocess
import sys


def test_the_heavy_libraries_are_imported_only_where_they_are_used():
    heavy = {"pandas", "scipy", "timm", "torchvision", "safetensors", "matplotlib", "torch._dynamo"}
    code = f"import sys, stitchwork.analysis, stitchwork.weights; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_all_is_complete():
    import stitchwork.analysis as analysis

    assert all(getattr(analysis, name).__doc__ for name in analysis.__all__)

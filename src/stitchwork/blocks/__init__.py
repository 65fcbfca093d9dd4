"""The plug-in modules, one file each: (B, C, H, W) -> (B, C, H, W)."""

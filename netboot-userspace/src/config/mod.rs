//! `netboot.yaml` and its drop-in folders: raw (as typed) -> checked (as meant).

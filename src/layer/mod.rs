//! Tower layers, one file each.

"""Bundles: receipts with everything that they name, in one zip file that is a Process Run Crate."""

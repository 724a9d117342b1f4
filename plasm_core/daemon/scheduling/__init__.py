"""Which job runs next: the fair queue, slots, quotas, owners, and turns at compiling."""

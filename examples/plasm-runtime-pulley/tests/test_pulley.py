from plasm_runtime_pulley import Pulley

from plasm_core.testing.contract import RuntimeContract


class TestPulley(RuntimeContract):
    @classmethod
    def runtime(cls):
        return Pulley()

from plasm_core.config import AdmissionLimits
from plasm_core.setting_hint import setting_hint


def test_it_serves_the_user_of_this_machine_and_the_client_of_a_daemon() -> None:
    hint = setting_hint("policy.grants", '["clock.real"]')

    assert "--set 'policy.grants=[\"clock.real\"]'" in hint
    assert "a daemon needs policy.grants" in hint


def test_the_settings_that_refusals_name_exist() -> None:
    assert {"module_bytes", "cpu_s", "memory_bytes"} <= {
        field.name for field in AdmissionLimits.__attrs_attrs__
    }

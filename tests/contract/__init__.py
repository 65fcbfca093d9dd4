"""The contract: what every registered name must do, found through the registry.

Each file has one theme. A check is a plain function ``check_...(build, ...)`` that raises AssertionError; the suite
calls it for the registered names, and ``test_the_contract_can_fail.py`` calls it with modules that break it.
"""

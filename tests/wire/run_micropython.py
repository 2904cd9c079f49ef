"""Run portable test modules under MicroPython: `micropython run_micropython.py MODULE…`.

Put host_tools and this folder on MICROPYPATH. Prints `MODULE: N passed, M failed`; exits with 1
when anything failed. `MODULE:FUNCTION` calls one function and prints what it returns.
"""

import sys


def run(name):
    module = __import__(name)
    passed = failed = 0
    for test in dir(module):
        if not test.startswith("test_"):
            continue
        try:
            getattr(module, test)()
            passed += 1
        except Exception as error:
            failed += 1
            print(name, test)
            sys.print_exception(error)
    print("%s: %d passed, %d failed" % (name, passed, failed))
    return failed


failures = 0
for argument in sys.argv[1:]:
    if ":" in argument:
        name, function = argument.split(":")
        print(getattr(__import__(name), function)())
    else:
        failures += run(argument)
sys.exit(1 if failures else 0)

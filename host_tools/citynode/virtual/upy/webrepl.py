"""`webrepl`: the prompt over WiFi, which a virtual board does not serve."""


def start(port=8266, password=None, accept_handler=None):
    if password is None:
        try:
            import webrepl_cfg  # noqa: F401
        except ImportError:
            print("There is no webrepl_cfg: run webrepl_setup, or give a password")
            return
    raise OSError(95)  # EOPNOTSUPP


def stop():
    pass

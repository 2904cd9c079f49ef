"""`umqtt.robust`: a client that connects again when the connection is lost."""

import time

from umqtt import simple


class MQTTClient(simple.MQTTClient):
    """Tries for as long as it takes, with a pause between."""

    DELAY = 2  # seconds
    DEBUG = False

    def delay(self, i):
        time.sleep(self.DELAY)

    def log(self, in_reconnect, error):
        if self.DEBUG:
            print("mqtt: %s: %r" % ("reconnecting" if in_reconnect else "lost", error))

    def reconnect(self):
        attempt = 0
        while True:
            try:
                return super().connect(False)
            except OSError as error:
                self.log(True, error)
                attempt += 1
                self.delay(attempt)

    def publish(self, topic, msg, retain=False, qos=0):
        while True:
            try:
                return super().publish(topic, msg, retain, qos)
            except OSError as error:
                self.log(False, error)
            self.reconnect()

    def wait_msg(self):
        while True:
            try:
                return super().wait_msg()
            except OSError as error:
                self.log(False, error)
            self.reconnect()

    def check_msg(self, attempts=2):
        while attempts:
            try:
                return super().check_msg()
            except OSError as error:
                self.log(False, error)
            self.reconnect()
            attempts -= 1

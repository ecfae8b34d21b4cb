"""The provider's own SDK, unmodified, with pingbox in the provider's place: python3 sdk.py captcha.png

    pip install 2captcha-python

It speaks https alone: let pingbox listen with api.tls = self_signed and name its CA in REQUESTS_CA_BUNDLE
(pingbox tls ca > ca.pem). docs/sdk.md has the others.
"""
import os
import sys
from urllib.parse import urlsplit

from twocaptcha import TwoCaptcha

server = urlsplit(os.environ.get("PINGBOX_SERVER", "https://127.0.0.1:8081")).netloc
token = os.environ.get("PINGBOX_TOKEN", "any text will do as long as no token was made")

solver = TwoCaptcha(token, server=server, pollingInterval=1)
print(solver.normal(sys.argv[1])["code"])

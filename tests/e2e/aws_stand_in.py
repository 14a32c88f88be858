"""What of AWS the credentials' chain talks to, on loopback: STS, a container's agent, an instance's metadata service.

STS checks signatures with botocore, the vendor's own code, and remembers what it was asked.
"""

import datetime
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
from stand_in import Handler


def in_an_hour():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)


def sts(web_identity="the.web.token", signer=("AKIDEXAMPLE", "s/e+c=ret", None), xml=False, region="eu-west-1"):
    """A handler class; `asked` has the forms of all requests."""

    class Sts(Handler):
        asked = []

        def do_POST(self):
            body = self.body()
            form = dict(urllib.parse.parse_qsl(body.decode()))
            Sts.asked.append(form)
            if form.get("Action") == "AssumeRoleWithWebIdentity" and form.get("WebIdentityToken") != web_identity:
                self.refuse("InvalidIdentityToken", "The token is not the one")
            elif form.get("Action") == "AssumeRole" and not self.is_signed(body):
                self.refuse("SignatureDoesNotMatch", "The signature is another one")
            else:
                self.give(form)

        def is_signed(self, body):
            request = botocore.awsrequest.AWSRequest("POST", f"http://{self.headers['Host']}/", data=body, headers={"Content-Type": self.headers["Content-Type"]})
            auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(*signer), "sts", region)
            request.context["timestamp"] = self.headers["X-Amz-Date"]
            request.headers["X-Amz-Date"] = self.headers["X-Amz-Date"]
            if signer[2]:
                request.headers["X-Amz-Security-Token"] = signer[2]
            canonical = auth.canonical_request(request)
            wanted = auth.signature(auth.string_to_sign(request, canonical), request)
            return self.headers["Authorization"].endswith(f"Signature={wanted}") and self.headers.get("X-Amz-Security-Token") == signer[2]

        def refuse(self, code, message):
            if xml:
                self.answer(403, f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>", "text/xml")
            else:
                self.answer(403, {"Error": {"Code": code, "Message": message, "Type": "Sender"}, "RequestId": "1"})

        def give(self, form):
            action, keys = form["Action"], {"AccessKeyId": "ASIAROLE", "SecretAccessKey": "role&secret", "SessionToken": "role/session+token=="}
            if xml:
                keys["Expiration"] = in_an_hour().strftime("%Y-%m-%dT%H:%M:%SZ")
                inner = "".join(f"<{k}>{v.replace('&', '&amp;')}</{k}>" for k, v in keys.items())
                self.answer(200, f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>{inner}</Credentials>'
                                 f"</{action}Result></{action}Response>", "text/xml")
            else:
                keys["Expiration"] = in_an_hour().timestamp()
                self.answer(200, {f"{action}Response": {f"{action}Result": {"AssumedRoleUser": {"Arn": form["RoleArn"]}, "Credentials": keys}}})

    return Sts


def agent(token, status=200):
    """A container's agent (ECS, EKS pod identity)."""

    class Agent(Handler):
        def do_GET(self):
            if self.headers.get("Authorization") != token:
                self.answer(401, {"code": "AccessDenied", "message": "no such token"})
            else:
                self.answer(status, {"AccessKeyId": "ASIAPOD", "SecretAccessKey": "pod", "Token": "pod-session", "Expiration": in_an_hour().strftime("%Y-%m-%dT%H:%M:%SZ"),
                                     "path": self.path})

    return Agent


def instance(role="the-role", region="ap-south-1"):
    """Version 2 of the metadata service: nothing without a token."""

    class Instance(Handler):
        def do_PUT(self):
            fine = self.path == "/latest/api/token" and self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            self.answer(200 if fine else 400, "imds-token", "text/plain")

        def do_GET(self):
            base = "/latest/meta-data/iam/security-credentials/"
            if self.headers.get("X-aws-ec2-metadata-token") != "imds-token":
                self.answer(401, "")
            elif self.path == "/latest/meta-data/placement/region":
                self.answer(200, region, "text/plain")
            elif self.path == base:
                self.answer(200 if role else 404, role or "", "text/plain")
            elif role and self.path == base + role:
                self.answer(200, {"Code": "Success", "AccessKeyId": "ASIAEC2", "SecretAccessKey": "ec2", "Token": "ec2-session",
                                  "Expiration": in_an_hour().strftime("%Y-%m-%dT%H:%M:%SZ")})
            else:
                self.answer(404, "")

    return Instance

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The options by which community.docker's modules find their daemon, as documentation."""

from __future__ import annotations


class ModuleDocFragment:
    """Options that tasks written for community.docker may have, and that mean nothing without a daemon."""

    DOCUMENTATION = r"""
options:
  docker_host:
    description:
      - There is no daemon to connect to. A local one, such as V(unix:///var/run/docker.sock), is accepted and not
        used; one on another host is refused, for the task would act on the wrong host.
      - If not given, the environment variable E(DOCKER_HOST) is treated the same.
    type: str
    aliases: [docker_url]
  tls_hostname:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: str
  api_version:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: str
    aliases: [docker_api_version]
  timeout:
    description:
      - Accepted for tasks that come from community.docker, without effect. A registry that stalls is given up by
        itself.
    type: int
  ca_path:
    description:
      - Accepted for tasks that come from community.docker, without effect. Certificates of registries are in the
        configuration.
    type: path
    aliases: [ca_cert, tls_ca_cert, cacert_path]
  client_cert:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: path
    aliases: [tls_client_cert, cert_path]
  client_key:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: path
    aliases: [tls_client_key, key_path]
  tls:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: bool
  validate_certs:
    description:
      - Accepted for tasks that come from community.docker, without effect. It is about the daemon, not about
        registries.
    type: bool
    aliases: [tls_verify]
  use_ssh_client:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: bool
  debug:
    description:
      - Accepted for tasks that come from community.docker, without effect.
    type: bool
"""

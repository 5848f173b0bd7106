"""A module of Ansible: what a playbook declares as outputs of its task."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: kestra
short_description: declare outputs of the task that runs the playbook
description:
  - The values are outputs of the task as C(vars.outputs).
options:
  outputs:
    description: values by name
    type: dict
    required: true
author: kestra-dagster
"""


def main():
    module = AnsibleModule(
        argument_spec={"outputs": {"type": "dict", "required": True}}, supports_check_mode=True
    )
    module.exit_json(changed=False, outputs=module.params["outputs"])


if __name__ == "__main__":
    main()

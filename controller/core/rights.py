"""What each right is for and which role has it, in words."""

from typing import Final

NEEDS: Final = {
    "controller.approve_proposal": "deciding on proposals needs the role Approver",
    "controller.propose_change": "proposing a change needs the role Operator",
    "controller.break_glass": "letting a change through alone needs the role Approver",
    "controller.override": "overriding a policy needs the role Operator",
    "controller.add_grant": "granting roles needs the role Admin",
    "controller.add_approvalrule": "rules that approve by themselves need the role Admin",
    "controller.freeze": "freezing needs the role Operator",
    "controller.resume": "resuming needs the role Approver",
    "controller.run_backtest": "starting and cancelling backtests needs the role Operator",
    "inventory.change_node": "changing the inventory needs the role Inventory editor",
    "inventory.change_metricsendpoint": (
        "changing and testing where metrics are read needs the role Admin"
    ),
    "inventory.change_clusteraccess": (
        "connecting clusters and checking rights there needs the role Admin"
    ),
    "inventory.cordon_node": "cordoning, draining and returning nodes needs the role Operator",
    "auth.change_user": "changing people, their sessions and locks needs the role Admin",
    "inventory.add_service": "setting up services needs the role Admin",
    "inventory.change_service": "changing what a service may do needs the role Policy editor",
    "inventory.change_policy": "changing a policy needs the role Policy editor",
}


def refused(verb: str) -> str:
    """Return what an audited event did; a right that lacked in the words people have for it."""
    right = verb.removeprefix("was refused ")
    told = next((text for key, text in NEEDS.items() if key.endswith(f".{right}")), None)
    return verb if told is None else f"was refused: {told.partition(' need')[0]}"

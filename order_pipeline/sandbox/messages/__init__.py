"""The platform's message service (TMC, contract 6): what is published, and the queues it is read from.

``topics`` says which messages a change of an order makes, ``queues`` keeps who reads which of them, and
``service`` knows the permissions and groups. Messages are never stored: they are written again from the ledger's
change log whenever they are delivered, so a queue costs memory only for what is delivered and unconfirmed.
"""

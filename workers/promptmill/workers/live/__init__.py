"""The check of Promptmill's beliefs about Google against the live service.

``session`` does the calls and collects evidence. Everything else is pure: ``beliefs``
decides from the evidence, ``redaction`` removes what identifies a customer.
"""

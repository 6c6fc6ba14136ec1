"""What the control plane answers with: values that doors print or turn to JSON as they are.

Ids are 32 hexadecimal digits and moments are `datetime`s in UTC. Field names are the JSON
output's, so they are added to and never renamed.
"""

"""The search for plans: which are worth running, judged first by what single interventions did, then by running them.

Not here: running them (the steps), and the choice of the profile's plan (choose_plan).
"""

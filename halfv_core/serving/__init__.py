"""Plans inside other programs that run models; each needs the package of that program, which nothing else imports.

What does not belong here: what a plan does to a model, which is in `runtime`.
"""

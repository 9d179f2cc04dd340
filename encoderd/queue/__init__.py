"""
Queue: from candidates to jobs, and a job's whole life, durably.

In: candidates, claims, results, the operator's wishes. Out: `Job`s and their history.
It never touches a recording or an output, and never deletes or overwrites a database it cannot use.
"""

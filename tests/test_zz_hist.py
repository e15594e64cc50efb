"""Time the initial history with and without the sealing triggers."""
import time
import pytest
from datetime import timedelta
from django.db import connection
from controller import history
from controller.services import demo, sealing, ledger, verifying
from controller.models import *
from pathlib import Path

@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guards", [False, True, False, True], ids=list("abcd"))
def test_history(guards):
    demo.create(speed=1.0, trace=None)
    with connection.cursor() as c:
        if not guards:
            c.execute("ALTER TABLE controller_decision DISABLE TRIGGER USER")
    try:
        t=time.perf_counter(); n=history.produce(lambda _: None, length=timedelta(hours=6)); took=time.perf_counter()-t
        rows=Decision.objects.count(); wait=ToSeal.objects.count()
        print("\nHIST", guards, "ticks",n,"rows",rows,"waiting",wait,"took %.2f"%took)
        if guards:
            t=time.perf_counter(); k=0
            while (d:=sealing.seal(4000)): k+=d
            took=time.perf_counter()-t
            print("SEAL",k,"%.2f s"%took, "%.0f/s"%(k/took))
            t=time.perf_counter(); o=verifying.verify(Path("/nonexistent")); took=time.perf_counter()-t
            print("VERIFY",o.seals,o.fault,"%.2f s"%took)
            from django.utils import timezone
            t=time.perf_counter(); verifying.advance(timezone.now()); print("ADVANCE1 %.3f"%(time.perf_counter()-t))
            t=time.perf_counter(); verifying.advance(timezone.now()); print("ADVANCE2 %.3f"%(time.perf_counter()-t))
            with connection.cursor() as c:
                c.execute("select avg(pg_column_size(d.*)) from controller_decision d"); print("SIZE", c.fetchone())
            t=time.perf_counter(); ledger.clear(); print("CLEAR %.2f"%(time.perf_counter()-t)); print(Removal.objects.count())
            t=time.perf_counter(); sealing.seal(100); o=verifying.verify(Path("/nonexistent")); took=time.perf_counter()-t
            print("VERIFY removed",o.seals,o.removed,o.fault,"%.2f s"%took)
    finally:
        with connection.cursor() as c:
            c.execute("ALTER TABLE controller_decision ENABLE TRIGGER USER")

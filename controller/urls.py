"""Every address of the product."""

from django.urls import path

from controller.api import backtests as backtest_api
from controller.api import figures
from controller.views import (
    approvals,
    backtests,
    decisions,
    freezes,
    overview,
    policies,
    preferences,
    replay,
    services,
    sign_in,
    signals,
    strip,
    suggestions,
    system,
)

urlpatterns = [
    path("", overview.page, name="overview"),
    path("overview/<slug:panel>/", overview.panel, name="overview-panel"),
    path("strip/", strip.fragment, name="strip"),
    path("services/", services.index, name="services"),
    path("services/<slug:slug>/", services.page, name="service"),
    path("services/<slug:slug>/panel/<slug:panel>/", services.panel, name="service-panel"),
    path("services/<slug:slug>/freeze/", freezes.freeze_service, name="freeze-service"),
    path("services/<slug:slug>/resume/", freezes.resume_service, name="resume-service"),
    path("services/<slug:slug>/signals/", signals.page, name="service-signals"),
    path("services/<slug:slug>/policy/", policies.page, name="service-policy"),
    path("services/<slug:slug>/policy/check/", policies.check, name="policy-check"),
    path("services/<slug:slug>/policy/windows/", policies.windows, name="policy-windows"),
    path("services/<slug:slug>/policy/simulate/", policies.simulate, name="policy-simulate"),
    path(
        "services/<slug:slug>/policy/simulation/<uuid:pk>/",
        policies.simulation,
        name="policy-simulation",
    ),
    path("services/<slug:slug>/policy/curate/", policies.curate, name="policy-curate"),
    path(
        "services/<slug:slug>/policy/revert/<int:revision>/",
        policies.revert,
        name="policy-revert",
    ),
    path("freeze/", freezes.freeze_fleet, name="freeze-fleet"),
    path("resume/", freezes.resume_fleet, name="resume-fleet"),
    path("approvals/", approvals.index, name="approvals"),
    path("approvals/<int:pk>/", approvals.page, name="approval"),
    path("approvals/<int:pk>/approve/", approvals.approve, name="approve"),
    path("approvals/<int:pk>/reject/", approvals.reject, name="reject"),
    path("approvals/suggestions/<int:pk>/", suggestions.page, name="suggestion"),
    path("approvals/suggestions/<int:pk>/adopt/", suggestions.adopt, name="suggestion-adopt"),
    path(
        "approvals/suggestions/<int:pk>/dismiss/", suggestions.dismiss, name="suggestion-dismiss"
    ),
    path("decisions/", decisions.index, name="decisions"),
    path("decisions/<int:pk>/", decisions.page, name="decision"),
    path("decisions/<int:pk>/replay/", replay.page, name="decision-replay"),
    path("backtests/", backtests.index, name="backtests"),
    path("backtests/new/", backtests.new, name="backtest-new"),
    path("backtests/traces/<int:pk>/", backtests.trace, name="backtest-trace"),
    path("backtests/<uuid:pk>/", backtests.page, name="backtest"),
    path("backtests/<uuid:pk>/cancel/", backtests.cancel, name="backtest-cancel"),
    # Machines are told in JSON that an id is none, so the view reads it.
    path("backtests/<str:pk>/scores.csv", backtest_api.scores, name="backtest-scores"),
    path("backtests/<str:pk>/series.csv", backtest_api.series, name="backtest-series"),
    path("api/v1/backtests/", backtest_api.index, name="api-backtests"),
    path("api/v1/backtests/<str:pk>", backtest_api.one, name="api-backtest"),
    path("api/v1/figures/<slug:name>", figures.figure, name="figure"),
    path("me/preferences/", preferences.save, name="preferences"),
    path("sign-in/", sign_in.SignIn.as_view(), name="sign-in"),
    path("sign-out/", sign_in.SignOut.as_view(), name="sign-out"),
    path("healthz", system.healthz, name="healthz"),
    path("readyz", system.readyz, name="readyz"),
    path("metrics", system.metrics, name="metrics"),
]

"""Django's settings, made from the configuration."""

from __future__ import annotations

import os
import secrets
from typing import Any
from urllib.parse import urlsplit

from csp.constants import NONE, SELF

from controller.core.reach import Reach
from heteroscale_site import connections, logs
from heteroscale_site.configuration import BASE_DIR, ProcessRole, breaker_thresholds, load
from heteroscale_site.home import Home

CONFIGURATION = load(os.environ)
PROCESS_ROLE = CONFIGURATION.role
HOME_LAYOUT = Home(CONFIGURATION.home)

# What the rest of the product reads.
HOME = CONFIGURATION.home
# Without a directory that was named or was there, whether its flag is raised can't be known.
HOME_EXPECTED = "HETEROSCALE_HOME" in os.environ or HOME.is_dir()
SHARED = CONFIGURATION.shared
TICK_S = CONFIGURATION.tick_s
LEASE_S = CONFIGURATION.lease_s
MAX_AGE_S = CONFIGURATION.max_age_s
WINDOW_S = CONFIGURATION.window_s
OBSERVE_S = CONFIGURATION.observe_s
REMOVAL_FRAC = CONFIGURATION.removal_frac
REMOVAL_WINDOW_S = CONFIGURATION.removal_window_s
SOFT_S = CONFIGURATION.soft_s
DRAIN_S = CONFIGURATION.drain_s
MAX_GPUS = CONFIGURATION.max_gpus
SECOND_APPROVER_GPUS = CONFIGURATION.second_approver_gpus
FREEZE_FLAG = CONFIGURATION.freeze
BREAKER = breaker_thresholds(CONFIGURATION)
KEEP_BACKTESTS_D = CONFIGURATION.keep_backtests_d
DEMO_SPEED = CONFIGURATION.demo_speed
IDLE_S = CONFIGURATION.idle_s
SESSION_S = CONFIGURATION.session_s
AUDIT_ANCHOR = CONFIGURATION.audit_anchor or HOME_LAYOUT.audit_anchor
AUDIT_ANCHOR_S = CONFIGURATION.audit_anchor_s
FRESH_S = CONFIGURATION.fresh_s
SECOND_FACTOR = CONFIGURATION.second_factor
PROXIES = CONFIGURATION.proxies
PRODUCTION = CONFIGURATION.production
EXEC_PLUGINS = CONFIGURATION.exec_plugins
METRICS_REACH = CONFIGURATION.metrics_reach or Reach(inside=CONFIGURATION.embedded_database)

DEBUG = CONFIGURATION.debug
# Before the first start there is no key to keep; a passing one serves commands that sign nothing.
SECRET_KEY = CONFIGURATION.secret_key or HOME_LAYOUT.read_secret_key() or secrets.token_urlsafe(64)
ALLOWED_HOSTS = list(CONFIGURATION.allowed_hosts)
CSRF_TRUSTED_ORIGINS = list(CONFIGURATION.trusted_origins)

INSTALLED_APPS = [
    "heteroscale_site",
    "controller",
    "inventory",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django_rq",
    "django_htmx",
    "csp",
    "lucide",
]

MIDDLEWARE = [
    "heteroscale_site.middleware.AuditedMiddleware",
    "heteroscale_site.middleware.NoZeroByteMiddleware",
    "heteroscale_site.middleware.ForwardedMiddleware",
    # First, so that the redirect to HTTPS and the refusal of a host carry the policy as well.
    "csp.middleware.CSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "heteroscale_site.middleware.VersionMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "heteroscale_site.middleware.SessionAgeMiddleware",
    "heteroscale_site.middleware.SameSiteMiddleware",
    "heteroscale_site.middleware.SecondFactorMiddleware",
    "heteroscale_site.middleware.FreshPeopleMiddleware",
    "heteroscale_site.middleware.QueuePagesMiddleware",
    "heteroscale_site.middleware.NoStoreMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "heteroscale_site.urls"
WSGI_APPLICATION = "heteroscale_site.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "controller.views.chrome.context",
            ],
        },
    },
]

# PostgreSQL and the broker.
DATABASES = {"default": connections.database(CONFIGURATION, HOME_LAYOUT)}
APPLICATION_ROLE = connections.application_role(CONFIGURATION)
BROKER = CONFIGURATION.broker or connections.embedded_broker(HOME_LAYOUT)
RQ_QUEUES: dict[str, dict[str, Any]] = {
    name: connections.queue(BROKER, PROCESS_ROLE, timeout_s=timeout_s)
    for name, timeout_s in (
        ("control", 30),
        ("placement", 120),
        ("actions", 120),
        ("default", 300),
        ("heavy", 1800),
    )
}
JOB_MEMORY_MIB = {"heavy": CONFIGURATION.backtest_memory_mib}
RQ = {
    "JOB_CLASS": "heteroscale_site.queue.ListedJob",
    "WORKER_CLASS": "heteroscale_site.queue.ListedWorker",
    "QUEUE_CLASS": "heteroscale_site.queue.JSONQueue",
    "COMMIT_MODE": "on_db_commit",
}
RQ_API_TOKEN = CONFIGURATION.queue_token
RQ_SHOW_ADMIN_LINK = False

# People and sessions.
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"
OIDC_ISSUER = CONFIGURATION.oidc_issuer
OIDC_NAME = OIDC_ISSUER and (CONFIGURATION.oidc_name or urlsplit(OIDC_ISSUER).hostname)
OIDC_CLIENT_ID = CONFIGURATION.oidc_client_id
OIDC_CLIENT_SECRET = CONFIGURATION.oidc_client_secret
OIDC_SCOPES = CONFIGURATION.oidc_scopes
OIDC_ROLES_CLAIM = CONFIGURATION.oidc_roles_claim
OIDC_ROLES = CONFIGURATION.oidc_roles
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "heteroscale_site.oidc.backend.OidcBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": 12}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
]
SESSION_ENGINE = "controller.services.session_store"
SESSION_COOKIE_AGE = SESSION_S
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "controller.views.kept.csrf_failed"

# What every answer says to the browser.
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
# The hash is that of the empty string: Plotly adds one empty style element and fills it through
# the object model, which the policy allows; text inside a style element stays refused.
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "connect-src": [SELF],
        "font-src": [SELF],
        "style-src": [SELF, EMPTY_STYLE],
        "img-src": [SELF, "data:", "blob:"],
        "object-src": [NONE],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
    },
}

if CONFIGURATION.secure:
    # A cookie named __Host- is refused by browsers unless it is secure, for the whole path and
    # for this host alone, so a neighbouring sub-domain cannot plant one.
    SESSION_COOKIE_NAME = "__Host-session"
    CSRF_COOKIE_NAME = "__Host-csrf"
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SECURE_SSL_REDIRECT = True
    # Probes come from inside and speak HTTP.
    SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$", r"^simulator/"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True

# Files the browser fetches. Only `up` collects them; other processes read them where they lie.
STATIC_URL = "/static/"
STATIC_ROOT = HOME_LAYOUT.static
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "heteroscale_site.finders.PlotlyFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PROCESS_ROLE in {ProcessRole.WEB, ProcessRole.STATIC}
        else "django.contrib.staticfiles.storage.StaticFilesStorage",
    },
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = PROCESS_ROLE is not ProcessRole.WEB
MEDIA_ROOT = HOME / "media"

# Language and time.
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = CONFIGURATION.time_zone

# Requests are refused early when they are larger than any page of ours sends.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
# A change of two thousand nodes names each of them; an import may have a file a host.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_200
DATA_UPLOAD_MAX_NUMBER_FILES = 200
FILE_UPLOAD_HANDLERS = [
    "heteroscale_site.uploads.QuotaHandler",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

LOGGING_CONFIG = None
logs.configure(level=CONFIGURATION.log_level)

"""Sign-in through an identity provider (OpenID Connect Core 1.0, authorisation code with PKCE)."""

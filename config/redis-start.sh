#!/bin/sh
# Starts Redis in its container. At the first start each user of users.acl gets a random password; they stay in the
# volume as URLs, for the group of the bridge's image to read, and no secret has to exist before.
set -eu
umask 027
login=${LOGIN_DIR:-/run/bridge} config=${CONFIG_DIR:-/etc/bridge}

for role in worker operator producer; do
  [ -s "$login/$role.url" ] && continue
  password=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
  printf 'redis://bridge-%s:%s@redis:6379/0\n' "$role" "$password" > "$login/.new"
  mv "$login/.new" "$login/$role.url"
done
if ! [ -s "$login/demo.whsec" ]; then
  printf 'whsec_%s\n' "$(head -c 32 /dev/urandom | base64)" > "$login/.new"
  mv "$login/.new" "$login/demo.whsec"
fi

{
  sed "s|~bridge:|~${BRIDGE_PREFIX:-bridge:}|g" "$config/users.acl" | while read -r line; do
    name=${line#user }; name=${name%% *}
    password=$(sed 's|^[^:]*://[^:]*:\([0-9a-f]*\)@.*|\1|' "$login/${name#bridge-}.url")
    hash=$(printf %s "$password" | sha256sum | cut -c 1-64)
    printf '%s\n' "$line" | sed "s|#SHA256-OF-THE-PASSWORD-OF-$name|#$hash|"
  done
  # Whoever reaches this port unnamed may do nothing. The rights stay, as Redis reads its append-only file as this user:
  # without them it would skip every transaction in it, and start as good as empty.
  echo 'user default off ~* &* +@all'
  # The health check of the container may ask whether it is there.
  echo 'user health reset on nopass -@all +ping'
} > "$login/users.acl"

exec redis-server "$config/redis.conf" --bind '*' '-::*' --dir "${DATA_DIR:-/data}" --aclfile "$login/users.acl" "$@"

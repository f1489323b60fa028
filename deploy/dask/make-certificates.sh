#!/bin/sh
# Make the TLS files of a Dask cluster: an authority of its own, and one certificate of it.
#
#   make-certificates.sh FOLDER [DAYS]
#
# ca.pem, certificate.pem and key.pem go to every machine of the cluster: scheduler, workers and
# services. Whoever has key.pem can join, and run programs as the user of livepick on all of them.
# Dask does not compare host names, so one certificate serves all machines. ca.key only makes more
# certificates: keep it elsewhere. All end after DAYS (1095); make new ones before that.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: make-certificates.sh FOLDER [DAYS]" >&2
    exit 2
fi
folder=$1
days=${2:-1095}
if [ -e "$folder/ca.pem" ] || [ -e "$folder/key.pem" ]; then
    echo "make-certificates.sh: $folder has certificates already; name another folder" >&2
    exit 1
fi

umask 077
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A new elliptic curve key; RSA keys work, too.
new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
# shellcheck disable=SC2086 # several words
openssl req -x509 $new -days "$days" -subj "/CN=livepick cluster authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" \
    -keyout "$folder/ca.key" -out "$work/ca.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
# shellcheck disable=SC2086
openssl req $new -subj "/CN=livepick cluster" \
    -keyout "$work/key.pem" -out "$work/request.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
printf 'basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' >"$work/use"
openssl x509 -req -in "$work/request.pem" -CA "$work/ca.pem" -CAkey "$folder/ca.key" \
    -set_serial 1 -days "$days" -extfile "$work/use" \
    -out "$work/certificate.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/key.pem" "$work/certificate.pem" "$work/ca.pem" "$folder/"
echo "$folder: ca.pem, certificate.pem and key.pem are for all machines; keep ca.key elsewhere"

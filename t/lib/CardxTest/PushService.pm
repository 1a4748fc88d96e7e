package CardxTest::PushService;

# A push service (RFC 8030) and the browsers behind it: speaks https on a port
# of its own, checks who signed (RFC 8292), decrypts what came (RFC 8291) with
# a library that is not the server's, and writes it down.
#
#     my $service = CardxTest::PushService->new($folder);
#     my $browser = $service->browser('ok');       # {endpoint, keys}
#     $service->pushes('ok');                      # what came for it
#     $service->stop;
#
# answers: {name => [status, ...]}, given in turn, the last one ever after;
# 201 without.

use strict;
use warnings;

use Crypt::AuthEnc::GCM ();
use Crypt::KeyDerivation ();
use Crypt::PK::ECC ();
use IO::Socket::SSL ();
use JSON::PP ();
use MIME::Base64 qw(decode_base64url encode_base64url);
use POSIX ();

my $json = JSON::PP->new->utf8->canonical;

sub new {
    my ($class, $dir, %answers) = @_;
    my $self = bless { dir => $dir, answers => \%answers, browsers => {},
        owner => $$ }, $class;

    system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
        . "-nodes -days 2 -subj /CN=localhost "
        . "-addext subjectAltName=DNS:localhost -keyout $dir/push.key "
        . "-out $dir/push.crt 2>$dir/openssl.log") == 0 or die 'openssl';
    return $self->listen;
}

sub listen {
    my ($self) = @_;
    $self->{server} = IO::Socket::SSL->new(
        LocalAddr => '127.0.0.1', LocalPort => $self->{port} || 0, Listen => 16,
        ReuseAddr => 1, SSL_cert_file => "$self->{dir}/push.crt",
        SSL_key_file => "$self->{dir}/push.key", SSL_startHandshake => 0)
        or die "push service: $!";
    $self->{port} = $self->{server}->sockport;
    return $self;
}

sub ca { "$_[0]{dir}/push.crt" }
sub host { "localhost:$_[0]{port}" }

# Before start(): what the browsers' keys are is known to the service.
sub browser {
    my ($self, $name) = @_;
    my $key = Crypt::PK::ECC->new->generate_key('secp256r1');
    my $auth = pack 'C*', map { int rand 256 } 1 .. 16;
    $self->{browsers}{$name} = { key => $key, auth => $auth };
    return {
        endpoint => "https://localhost:$self->{port}/push/$name",
        expirationTime => undef,
        keys => { p256dh => encode_base64url($key->export_key_raw('public')),
            auth => encode_base64url($auth) },
    };
}

sub start {
    my ($self) = @_;
    $self->{pid} = fork // die "fork: $!";
    if (!$self->{pid}) {
        $SIG{TERM} = sub { POSIX::_exit(0) };
        $SIG{PIPE} = 'IGNORE'; # who pushes may be killed
        while (1) {
            my $client = $self->{server}->accept or next;
            eval { $self->serve($client) };
            $self->note({ error => "$@" }) if $@;
        }
    }
    close $self->{server};
    return $self;
}

sub stop {
    my ($self) = @_;
    return unless $self->{pid} && $self->{owner} == $$;
    kill 'TERM', $self->{pid};
    waitpid $self->{pid}, 0;
    delete $self->{pid};
}

sub DESTROY { local ($?, $!); $_[0]->stop }

sub serve {
    my ($self, $client) = @_;
    IO::Socket::SSL->start_SSL($client, SSL_server => 1,
        SSL_cert_file => "$self->{dir}/push.crt",
        SSL_key_file => "$self->{dir}/push.key", Timeout => 5) or return;

    my $line = <$client> // return;
    my ($method, $path) = split / /, $line;
    my %headers;
    while (defined($line = <$client>) && $line ne "\r\n") {
        $headers{lc $1} = $2 if $line =~ /^([^:]+):\s*(.*?)\r\n/;
    }
    my $body = '';
    while (length $body < ($headers{'content-length'} || 0)) {
        read $client, $body, $headers{'content-length'} - length $body,
            length $body or last;
    }

    my ($name) = $path =~ m{^/push/(\w+)$} or die "path $path\n";
    my $answers = $self->{answers}{$name} || [201];
    my $status = @$answers > 1 ? shift @$answers : $answers->[0];
    my %record = (name => $name, status => $status, method => $method,
        headers => \%headers);
    eval {
        $record{jwt} = $self->signed($headers{authorization});
        $record{text} = $self->decrypted($name, $body);
    };
    $record{error} = "$@" if $@;
    $self->note(\%record);

    print $client "HTTP/1.1 $status x\r\nContent-Length: 0\r\n"
        . "Connection: close\r\n\r\n";
    close $client;
}

sub note {
    my ($self, $record) = @_;
    open my $out, '>>', "$self->{dir}/pushes.log" or die $!;
    syswrite $out, $json->encode($record) . "\n";
}

# The claims; dies if the signature is not that of the key beside it.
sub signed {
    my ($self, $value) = @_;
    my ($token, $point) = ($value // '') =~ /^vapid t=([^,]+), k=(\S+)$/
        or die "no vapid\n";
    my ($head, $claims, $signature) = split /\./, $token;
    my $key = Crypt::PK::ECC->new->import_key_raw(decode_base64url($point),
        'secp256r1');
    $key->verify_message_rfc7518(decode_base64url($signature),
        "$head.$claims", 'SHA256') or die "wrong signature\n";
    die "wrong head\n" if $json->decode(decode_base64url($head))->{alg}
        ne 'ES256';
    return { %{ $json->decode(decode_base64url($claims)) }, k => $point };
}

sub decrypted {
    my ($self, $name, $body) = @_;
    my $browser = $self->{browsers}{$name} or die "no browser $name\n";
    my ($salt, $size, $len) = unpack 'a16 N C', $body;
    my $point = substr $body, 21, $len;
    my $sealed = substr $body, 21 + $len;
    die "record size $size\n" if length $sealed > $size;

    my $sender = Crypt::PK::ECC->new->import_key_raw($point, 'secp256r1');
    my $secret = $browser->{key}->shared_secret($sender);
    my $ikm = Crypt::KeyDerivation::hkdf($secret, $browser->{auth}, 'SHA256',
        32, "WebPush: info\0" . $browser->{key}->export_key_raw('public')
        . $point);
    my ($cek, $nonce) = map { Crypt::KeyDerivation::hkdf($ikm, $salt, 'SHA256',
        $_->[1], "Content-Encoding: $_->[0]\0") } ['aes128gcm', 16],
        ['nonce', 12];

    my $tag = substr $sealed, -16, 16, '';
    my $text = Crypt::AuthEnc::GCM::gcm_decrypt_verify('AES', $cek, $nonce, '',
        $sealed, $tag) // die "can't decrypt\n";
    $text =~ s/\x02\0*\z// or die "no delimiter\n";
    return $text;
}

# All that has come, or what came for one browser.
sub pushes {
    my ($self, $name) = @_;
    open my $in, '<', "$self->{dir}/pushes.log" or return;
    return grep { !defined $name || ($_->{name} // '') eq $name }
        map { $json->decode($_) } grep { /\n\z/ } <$in>;
}

1;

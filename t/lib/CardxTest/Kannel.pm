package CardxTest::Kannel;

# A real Kannel between cardx and a centre that is played by its fakesmsc.
#
#     my $kannel = CardxTest::Kannel->new(port => $sendsms_port);
#     skip 'no Kannel here', 1 unless $kannel;
#     $kannel->start($t, in => 'http://...?from=%p&to=%P&text=%a');
#     $kannel->send('491700000001 13013 text hello');     # from a phone
#     like($kannel->received, qr/.../);                    # at the phones
#     $kannel->stop;
#
# The fakesmsc's own port is open to all: a test that uses this is started
# again, shut in, if that can be.

use strict;
use warnings;

use File::Temp ();
use IO::Socket::INET ();
use POSIX ();

use CardxTest;

sub import {
    if (!$ENV{CARDX_SHUT_IN}
        && !system('unshare -n ip link set lo up >/dev/null 2>&1')) {
        $ENV{CARDX_SHUT_IN} = 1;
        exec 'unshare', '-n', 'sh', '-c', 'ip link set lo up && exec "$@"',
            'sh', $^X, $0, @ARGV;
    }
}

sub new {
    my ($class, %options) = @_;
    my ($fakesmsc) = grep { m{/test/fakesmsc$} }
        split /\n/, CardxTest::capture('dpkg', '-L', 'kannel-extras');
    return unless $fakesmsc && -x $fakesmsc
        && grep { -x "$_/bearerbox" } split(/:/, $ENV{PATH}), '/usr/sbin';

    my $self = bless { %options, fakesmsc => $fakesmsc, daemons => {} },
        $class;
    $self->{dir} = File::Temp::tempdir('cx.XXXX', DIR => '/tmp', CLEANUP => 1);
    ($self->{admin}, $self->{box}, $self->{smsc})
        = map { CardxTest::free_port() } 1 .. 3;
    return $self;
}

sub configure {
    my ($self, $in) = @_;
    my $service = !$in ? '' : <<"CONF";

group = sms-service
keyword = default
catch-all = true
omit-empty = true
get-url = "$in"
CONF
    open my $out, '>', "$self->{dir}/kannel.conf" or die "kannel.conf: $!";
    print $out <<"CONF";
group = core
admin-port = $self->{admin}
admin-interface = 127.0.0.1
admin-password = adminpw
smsbox-port = $self->{box}
smsbox-interface = 127.0.0.1
box-deny-ip = "*.*.*.*"
box-allow-ip = "127.0.0.1"
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = FAKE
port = $self->{smsc}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = $self->{box}
sendsms-port = $self->{port}
sendsms-interface = 127.0.0.1
global-sender = 13013

group = sendsms-user
username = cardx
password = cardxpw
user-allow-ip = 127.0.0.1
$service
CONF
    close $out;
}

sub run {
    my ($self, $name, @command) = @_;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP);
        chdir $self->{dir};
        $ENV{PATH} .= ':/usr/sbin:/sbin';
        open STDOUT, '>>', "$self->{dir}/$name.out";
        open STDERR, '>&', \*STDOUT;
        { exec @command }
        POSIX::_exit(127);
    }
    $self->{daemons}{$name} = $pid;
}

sub listens {
    my ($t, $port) = @_;
    $t->wait_for(sub {
        IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
    }, 20) or die "Kannel does not listen on $port";
}

sub online {
    my ($self) = @_;
    return CardxTest::capture('curl', '-s',
        "http://127.0.0.1:$self->{admin}/status.txt?password=adminpw")
        =~ /FAKE.*online/;
}

# A centre whose phones send these messages, one each, and take what comes.
sub centre {
    my ($self, @messages) = @_;
    $self->{t}->wait_for(sub { !$self->online }, 20);
    $self->run('fakesmsc', $self->{fakesmsc}, '-H', '127.0.0.1', '-r',
        $self->{smsc}, '-i', 0.2, '-m', scalar @messages || 1,
        @messages ? @messages : '491700000001 13013 text hello');
    $self->{t}->wait_for(sub { $self->online }, 20)
        or die 'no centre: ' . $self->received;
}

sub start {
    my ($self, $t, %options) = @_;
    $self->{t} = $t;
    $self->configure($options{in});
    $self->run('bearerbox', 'bearerbox', '-v', 4, "$self->{dir}/kannel.conf");
    listens($t, $self->{smsc});
    $self->run('smsbox', 'smsbox', '-v', 4, "$self->{dir}/kannel.conf");
    listens($t, $self->{port});
    $self->centre(@{ $options{messages} || [] });
}

# Another centre in the place of the one there is.
sub send {
    my ($self, @messages) = @_;
    kill 'TERM', $self->{daemons}{fakesmsc};
    waitpid delete $self->{daemons}{fakesmsc}, 0;
    $self->centre(@messages);
}

# What the phones got, as fakesmsc tells it.
sub received {
    my ($self) = @_;
    open my $in, '<', "$self->{dir}/fakesmsc.out" or return '';
    local $/;
    return scalar <$in> // '';
}

sub stop {
    my ($self) = @_;
    my $daemons = $self->{daemons};
    kill 'TERM', grep { $_ } @$daemons{qw(fakesmsc smsbox)};
    waitpid $daemons->{smsbox}, 0 if $daemons->{smsbox};
    kill 'INT', $daemons->{bearerbox} if $daemons->{bearerbox};
    waitpid $_, 0 for values %$daemons;
    $self->{daemons} = {};
}

sub DESTROY {
    my ($self) = @_;
    local $?;
    kill 'KILL', values %{ $self->{daemons} };
}

1;

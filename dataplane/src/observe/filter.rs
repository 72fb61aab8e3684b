//! Capture filters: programs for the classic BPF machine (McCanne and Jacobson, "The BSD Packet
//! Filter", USENIX 1993), as libpcap compiles them from expressions.
//!
//! A program is checked before it runs: it ends, reads nothing but the packet and its own 16 words,
//! and takes at most as many steps as it has instructions, since jumps lead forward only.

/// Instructions of a program at most. libpcap makes a few dozen of what people write.
pub const MAX_INSTRUCTIONS: usize = 512;

/// Words of a program's memory.
const MEMORY: usize = 16;

/// One instruction, with the fields of `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// How many instructions to skip if a condition holds.
    pub jump_true: u8,
    /// How many to skip if it does not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// A checked program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Box<[Instruction]>);

/// Why a program is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadProgram {
    /// Without instructions, or with more than [`MAX_INSTRUCTIONS`].
    Length(usize),
    /// The instruction with this index does not exist in the machine.
    Code(usize),
    /// The instruction with this index leads behind the program's end.
    Jump(usize),
    /// The instruction with this index divides by zero, shifts by more than 31, or uses memory
    /// that there is not.
    Operand(usize),
    /// The last instruction does not end the program.
    End,
}

// Classes, in the low three bits of a code.
const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;

impl Program {
    /// Checks instructions, each of which is then known to be harmless.
    ///
    /// # Errors
    /// [`BadProgram`], of the first instruction that is wrong.
    pub fn new(instructions: Vec<Instruction>) -> Result<Program, BadProgram> {
        let len = instructions.len();
        if len == 0 || len > MAX_INSTRUCTIONS {
            return Err(BadProgram::Length(len));
        }
        for (at, instruction) in instructions.iter().enumerate() {
            check(instruction, at, len)?;
        }
        match instructions.last().map(|last| last.code & 7) {
            Some(RET) => Ok(Program(instructions.into())),
            _ => Err(BadProgram::End),
        }
    }

    /// Whether a packet of `len` bytes, of which `bytes` are at hand, is wanted.
    pub fn accepts(&self, bytes: &[u8], len: usize) -> bool {
        self.run(bytes, len as u32).unwrap_or(0) > 0
    }

    /// What the program returns: 0, or how many bytes it would have. `None` if it reads beyond the
    /// packet, which ends it.
    fn run(&self, bytes: &[u8], len: u32) -> Option<u32> {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY];
        let mut at = 0;
        while let Some(instruction) = self.0.get(at) {
            let k = instruction.operand;
            at += 1;
            match instruction.code & 7 {
                LD => a = load(instruction, bytes, len, x, &memory)?,
                LDX if instruction.code & 0xe0 == 0xa0 => x = u32::from(byte(bytes, k)? & 0xf) << 2,
                LDX => x = load(instruction, bytes, len, 0, &memory)?,
                ST => memory[k as usize % MEMORY] = a,
                STX => memory[k as usize % MEMORY] = x,
                ALU => a = compute(instruction, a, x)?,
                JMP => at += jump(instruction, a, x),
                RET => {
                    return Some(match instruction.code & 0x18 {
                        0x10 => a,
                        _ => k,
                    });
                }
                // The last class moves between the two: TAX, TXA.
                _ if instruction.code & 0xf8 == 0 => x = a,
                _ => a = x,
            }
        }
        None
    }
}

fn check(instruction: &Instruction, at: usize, len: usize) -> Result<(), BadProgram> {
    let code = instruction.code;
    let k = instruction.operand;
    let in_memory = (k as usize) < MEMORY;
    let mode = code & 0xe0;
    let fits = match code & 7 {
        _ if code > 0xff => return Err(BadProgram::Code(at)),
        // Sizes are word, half and byte; immediate, length and memory are words.
        LD => match mode {
            0x00 | 0x80 => code & 0x18 == 0,
            0x20 | 0x40 => code & 0x18 != 0x18,
            0x60 => return of_operand(code & 0x18 == 0, in_memory, at),
            _ => false,
        },
        LDX => match mode {
            0x00 | 0x80 => code & 0x18 == 0,
            0x60 => return of_operand(code & 0x18 == 0, in_memory, at),
            0xa0 => code & 0x18 == 0x10,
            _ => false,
        },
        ST | STX => return of_operand(code & 0xf8 == 0, in_memory, at),
        ALU => {
            let by_constant = code & 0x08 == 0;
            let operand = match code & 0xf0 {
                0x30 | 0x90 => k != 0 || !by_constant,
                0x60 | 0x70 => k < 32 || !by_constant,
                _ => true,
            };
            return of_operand(code & 0xf0 <= 0xa0, operand, at);
        }
        JMP => {
            let steps = match code & 0xf0 {
                0x00 => k as usize,
                _ => usize::from(instruction.jump_true.max(instruction.jump_false)),
            };
            if steps >= len - at - 1 {
                return Err(BadProgram::Jump(at));
            }
            code & 0xf0 <= 0x40
        }
        RET => matches!(code & 0xf8, 0x00 | 0x10),
        // TAX, TXA
        _ => matches!(code & 0xf8, 0x00 | 0x80),
    };
    of_operand(fits, true, at)
}

fn of_operand(is_code: bool, is_operand: bool, at: usize) -> Result<(), BadProgram> {
    match (is_code, is_operand) {
        (false, _) => Err(BadProgram::Code(at)),
        (true, false) => Err(BadProgram::Operand(at)),
        (true, true) => Ok(()),
    }
}

fn byte(bytes: &[u8], at: u32) -> Option<u8> {
    bytes.get(at as usize).copied()
}

fn load(
    instruction: &Instruction,
    bytes: &[u8],
    len: u32,
    x: u32,
    memory: &[u32; MEMORY],
) -> Option<u32> {
    let k = instruction.operand;
    let at = match instruction.code & 0xe0 {
        0x00 => return Some(k),
        0x60 => return Some(memory[k as usize % MEMORY]),
        0x80 => return Some(len),
        0x40 => k.checked_add(x)?,
        _ => k,
    } as usize;
    match instruction.code & 0x18 {
        0x00 => Some(u32::from_be_bytes(
            bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
        )),
        0x08 => {
            let half: [u8; 2] = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
            Some(u16::from_be_bytes(half).into())
        }
        _ => bytes.get(at).map(|byte| u32::from(*byte)),
    }
}

fn operand(instruction: &Instruction, x: u32) -> u32 {
    match instruction.code & 0x08 {
        0 => instruction.operand,
        _ => x,
    }
}

/// `None` if it divides by zero, which ends the program.
fn compute(instruction: &Instruction, a: u32, x: u32) -> Option<u32> {
    let by = operand(instruction, x);
    Some(match instruction.code & 0xf0 {
        0x00 => a.wrapping_add(by),
        0x10 => a.wrapping_sub(by),
        0x20 => a.wrapping_mul(by),
        0x30 => a.checked_div(by)?,
        0x40 => a | by,
        0x50 => a & by,
        0x60 => a.checked_shl(by).unwrap_or(0),
        0x70 => a.checked_shr(by).unwrap_or(0),
        0x80 => a.wrapping_neg(),
        0x90 => a.checked_rem(by)?,
        _ => a ^ by,
    })
}

fn jump(instruction: &Instruction, a: u32, x: u32) -> usize {
    let with = operand(instruction, x);
    let holds = match instruction.code & 0xf0 {
        0x00 => return instruction.operand as usize,
        0x10 => a == with,
        0x20 => a > with,
        0x30 => a >= with,
        _ => a & with != 0,
    };
    match holds {
        true => instruction.jump_true.into(),
        false => instruction.jump_false.into(),
    }
}

impl std::fmt::Display for BadProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadProgram::Length(len) => write!(
                f,
                "a filter has 1 to {MAX_INSTRUCTIONS} instructions, this one {len}"
            ),
            BadProgram::Code(at) => write!(f, "instruction {at} is none of classic BPF"),
            BadProgram::Jump(at) => write!(f, "instruction {at} leads out of the filter"),
            BadProgram::Operand(at) => write!(f, "instruction {at} has an impossible operand"),
            BadProgram::End => f.write_str("the last instruction does not return"),
        }
    }
}

impl std::error::Error for BadProgram {}

#[cfg(test)]
mod tests {
    use super::*;

    fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
        Instruction {
            code,
            jump_true,
            jump_false,
            operand,
        }
    }

    /// `udp port 53`, as `tcpdump -dd` prints it.
    fn dns() -> Vec<Instruction> {
        [
            (0x28, 0, 0, 12),
            (0x15, 0, 6, 0x86dd),
            (0x30, 0, 0, 20),
            (0x15, 0, 15, 17),
            (0x28, 0, 0, 54),
            (0x15, 12, 0, 53),
            (0x28, 0, 0, 56),
            (0x15, 10, 11, 53),
            (0x15, 0, 10, 0x800),
            (0x30, 0, 0, 23),
            (0x15, 0, 8, 17),
            (0x28, 0, 0, 20),
            (0x45, 6, 0, 0x1fff),
            (0xb1, 0, 0, 14),
            (0x48, 0, 0, 14),
            (0x15, 2, 0, 53),
            (0x48, 0, 0, 16),
            (0x15, 0, 1, 53),
            (0x6, 0, 0, 262_144),
            (0x6, 0, 0, 0),
        ]
        .map(|(code, jt, jf, k)| instruction(code, jt, jf, k))
        .to_vec()
    }

    fn udp_frame(options: usize, dst_port: u16) -> Vec<u8> {
        let mut frame = vec![0; 14 + 20 + options + 8];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45 + (options / 4) as u8;
        frame[23] = 17;
        let at = 14 + 20 + options + 2;
        frame[at..at + 2].copy_from_slice(&dst_port.to_be_bytes());
        frame
    }

    #[test]
    fn what_libpcap_compiles_runs() {
        let program = Program::new(dns()).unwrap();
        for options in [0, 4, 40] {
            let frame = udp_frame(options, 53);
            assert!(program.accepts(&frame, frame.len()));
            let frame = udp_frame(options, 54);
            assert!(!program.accepts(&frame, frame.len()));
        }
        // What ends before it can be told is not wanted.
        for len in 0..30 {
            assert!(!program.accepts(&udp_frame(0, 53)[..len], 42));
        }
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let ret = instruction(0x6, 0, 0, 1);
        let of = |instructions: &[Instruction]| Program::new(instructions.to_vec());
        assert_eq!(of(&[]), Err(BadProgram::Length(0)));
        assert_eq!(of(&[ret; 513]), Err(BadProgram::Length(513)));
        assert_eq!(
            of(&[instruction(0xff, 0, 0, 0), ret]),
            Err(BadProgram::Code(0))
        );
        assert_eq!(
            of(&[instruction(0x15, 1, 0, 0), ret]),
            Err(BadProgram::Jump(0))
        );
        assert_eq!(
            of(&[instruction(0x05, 0, 0, u32::MAX), ret]),
            Err(BadProgram::Jump(0))
        );
        assert_eq!(
            of(&[instruction(0x34, 0, 0, 0), ret]),
            Err(BadProgram::Operand(0))
        );
        assert_eq!(
            of(&[instruction(0x02, 0, 0, 16), ret]),
            Err(BadProgram::Operand(0))
        );
        assert_eq!(of(&[instruction(0x28, 0, 0, 12)]), Err(BadProgram::End));
    }

    /// Whatever the instructions and the packet: refused, or run to an end.
    #[test]
    fn any_program_is_harmless() {
        let mut seed = 1_u64;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut ran = 0;
        for _ in 0..200_000 {
            let len = random() % 6 + 1;
            let mut program: Vec<_> = (0..len)
                .map(|_| {
                    let bits = random();
                    let operand = match bits & 3 {
                        0 => (bits >> 32) as u32,
                        _ => (bits >> 32) as u32 % 40,
                    };
                    let jumps = [(bits >> 16) as u8 % 4, (bits >> 24) as u8 % 4];
                    instruction((bits >> 8) as u16 & 0xff, jumps[0], jumps[1], operand)
                })
                .collect();
            program.push(instruction(0x16, 0, 0, 0));
            if let Ok(program) = Program::new(program) {
                let bytes = random().to_le_bytes();
                program.accepts(&bytes[..(random() % 9) as usize], 60);
                ran += 1;
            }
        }
        assert!(ran > 1_000, "{ran}");
    }
}
